"""Harder tasks than flip-flops, of the same form: see tasks.py."""

import torch


def check(batch, length, shortest=4, **least):
    """Raises ValueError for an impossible shape; least: name=(given, the least that is allowed)."""
    if length < shortest or length % 2:
        raise ValueError(f"length is {length}; allowed: even numbers from {shortest}")
    for name, (given, lowest) in {"batch": (batch, 1), **least}.items():
        if given < lowest:
            raise ValueError(f"{name} is {given}; allowed: {lowest} or more")


def check_share(name, share):
    """Raises ValueError for what is no probability."""
    if not 0 <= share <= 1:
        raise ValueError(f"{name} is {share}; allowed: 0 to 1")


def recall(batch, length, generator, n_keys=256, n_values=16):
    """Multi-query associative recall (Arora et al. 2023): key, value pairs, then keys to answer.

    Half of the string are pairs of distinct keys; the other half asks for some in another order.
    Tokens: n_keys keys, n_values values. Asks for one match among many keys of the same kind.
    """
    pairs = (length + 2) // 4
    check(batch, length, n_keys=(n_keys, pairs), n_values=(n_values, 2))
    keys = torch.rand(batch, n_keys, generator=generator).argsort(-1)[:, :pairs]
    values = n_keys + torch.randint(n_values, (batch, pairs), generator=generator)
    asked = torch.rand(batch, pairs, generator=generator).argsort(-1)[:, : length // 2 - pairs]
    both = torch.stack((keys, values), -1)  # (batch, pairs, 2)
    tokens = torch.cat((both, both.gather(1, asked[..., None].expand(-1, -1, 2))), 1).flatten(1)
    return tokens, (tokens < n_keys) & (torch.arange(length) >= 2 * pairs)


def copy(batch, length, generator, n_symbols=16, unique=False):
    """A start, random symbols, a mark, the same symbols (Graves et al. 2014).

    unique: no symbol occurs twice. Tokens: n_symbols symbols, the start, the mark. Asks for the
    token a fixed number of places back; where symbols are unique a match of content serves too.
    """
    n = length // 2 - 1
    check(batch, length, n_symbols=(n_symbols, n if unique else 2))
    if unique:
        symbols = torch.rand(batch, n_symbols, generator=generator).argsort(-1)[:, :n]
    else:
        symbols = torch.randint(n_symbols, (batch, n), generator=generator)
    start = torch.full((batch, 1), n_symbols)
    tokens = torch.cat((start, symbols, start + 1, symbols), 1)
    scored = torch.arange(length).expand(batch, -1) > n
    return tokens, scored & (torch.arange(length) < length - 1)


def asked_last(body, question, answer):
    """body (batch, length - 2), a question, its answer (batch,) -> tokens, scored: one place."""
    tokens = torch.cat((body, torch.full_like(body[:, :1], question), answer[:, None]), 1)
    return tokens, tokens == question


def count(batch, length, generator, modulus=5, p_reset=0.1):
    """How many of a symbol there were since the last reset, modulo m (Chomsky's regular class).

    Tokens: the answers 0 ... m - 1, the symbol, another, the reset (which comes first), the
    question. Asks for a sum, where attention takes a mean.
    """
    check(batch, length, modulus=(modulus, 2))
    check_share("p_reset", p_reset)
    body = modulus + torch.randint(2, (batch, length - 2), generator=generator)
    reset = torch.rand(body.shape, generator=generator) < p_reset
    reset[:, 0] = True
    body[reset] = modulus + 2
    total = (body == modulus).cumsum(-1)
    since = total[:, -1] - torch.where(reset, total, 0).amax(-1)
    return asked_last(body, modulus + 3, since % modulus)


def parity(batch, length, generator):
    """Whether the number of ones is odd (Hahn 2020). Tokens: 0, 1, the question.

    Asks for every token alike: one changed bit changes the answer. A negative control.
    """
    check(batch, length)
    bits = torch.randint(2, (batch, length - 2), generator=generator)
    return asked_last(bits, 2, bits.sum(-1) % 2)


def max_retrieval(batch, length, generator, n_levels=10, n_classes=10):
    """The class of the item of highest priority (after Velickovic et al. 2024, sec. 3).

    There priorities are real numbers; here an item is one token, level * n_classes + class, and
    the highest level occurs once, so that the answer is one at any length. Then come the question
    and n_classes answers. Asks for one key among many close rivals: it measures dispersion.
    """
    check(batch, length, n_levels=(n_levels, 2), n_classes=(n_classes, 2))
    shape, rows = (batch, length - 2), torch.arange(batch)
    highest = torch.randint(1, n_levels, (batch,), generator=generator)
    level = (torch.rand(shape, generator=generator) * highest[:, None]).long()
    best = torch.randint(shape[1], (batch,), generator=generator)
    level[rows, best] = highest
    kind = torch.randint(n_classes, shape, generator=generator)
    question = n_levels * n_classes
    return asked_last(level * n_classes + kind, question, question + 1 + kind[rows, best])
