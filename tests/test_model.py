"""What must hold of the GPT around the mechanisms: length, weights, generation, memory, errors."""

import oracles
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tra_mini import GPT, MECHANISMS, GPTConfig

# how many heads, of two, may remove every key of a row
MAY_BE_SILENT = {"tra": 2, "sparsity_only": 2, "sparsity_raw": 2}
MAY_BE_SILENT |= {"tra_slow_gates": 2, "tra_spread_gates": 2, "tra_low_threshold": 2}
MAY_BE_SILENT |= {"tra_annealed": 2, "tra_beside_nope": 1, "tra_beside_local": 1}


def model_of(mechanism, seed=0, **settings):
    torch.manual_seed(seed)
    settings = {"d_model": 16, "n_head": 2, "cope_table": 8} | settings
    return GPT(GPTConfig(mechanism=mechanism, **settings))


def random_tokens(batch, length, seed=1):
    return torch.randint(5, (batch, length), generator=torch.Generator().manual_seed(seed))


# Forward


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_runs_at_eight_times_the_training_length(mechanism):
    """No maximum length: a GPT for training sequences of 64 gives finite logits at 512 tokens."""
    with torch.no_grad():
        logits = model_of(mechanism, cope_table=64)(random_tokens(2, 512))
    assert logits.shape == (2, 512, 5)
    assert logits.isfinite().all()


@pytest.mark.parametrize("mechanism", oracles.ROWS)  # all but the LSTM, which has no weights
def test_weights_of_every_layer(mechanism):
    """One (B, H, T, T) tensor a layer, and the logits as without.

    Rows sum to 1, or are silent where a head may remove every key; those of stick-breaking sum to
    less than 1, but for rounding, and the first token's to 0.
    """
    model, tokens = model_of(mechanism, n_layer=3).eval(), random_tokens(2, 70)
    logits, maps = model(tokens, return_weights=True)
    assert torch.equal(logits, model(tokens))
    assert len(maps) == 3
    for weights in maps:
        assert weights.shape == (2, 2, 70, 70)
        assert (weights >= 0).all()
        assert torch.count_nonzero(weights.triu(1)) == 0
        sums = weights.sum(-1)
        if mechanism == "stick_breaking":
            assert (sums[..., 0] == 0).all() and (sums[..., 1:] > 0).all()
            assert (sums < 1 + 1e-5).all()
        else:
            assert ((sums == 0) | ((sums - 1).abs() < 1e-5)).all()
            assert (sums[:, MAY_BE_SILENT.get(mechanism, 0) :] > 0).all()


def test_a_batch_is_its_sequences():
    """Sequences of one batch do not see each other."""
    model, tokens = model_of("tra").double(), random_tokens(3, 20)
    one_by_one = torch.cat([model(row[None]) for row in tokens])
    torch.testing.assert_close(model(tokens), one_by_one)


def test_a_block_is_two_residual_branches():
    """y = x + attention(norm(x)), then y + down(silu(gate) * value), gate and value of norm(y)."""
    block = model_of("tra").double().blocks[0]
    for norm in (block.norm_attention, block.norm_mlp):
        torch.nn.init.normal_(norm.weight)
    x = torch.randn(2, 7, 16, dtype=torch.float64)

    def normalised(x, norm):
        return x / x.square().mean(-1, keepdim=True).sqrt() * norm.weight

    y = x + block.attention(normalised(x, block.norm_attention))[0]
    gate, value = (normalised(y, block.norm_mlp) @ block.up.weight.T).chunk(2, -1)
    expected = y + (gate * torch.sigmoid(gate) * value) @ block.down.weight.T
    torch.testing.assert_close(block(x)[0], expected)


class LargestTensor(TorchDispatchMode):
    """Records how many numbers the largest result of any operation has."""

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self.numbers = max(self.numbers, leaf.numel())
        return result


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_memory_does_not_grow_with_the_square_of_the_length(mechanism):
    """Without gradients, at T = 4096, no tensor has even an eighth of T x T numbers."""
    length = 4096
    model, tokens = model_of(mechanism, n_layer=1, cope_table=64), random_tokens(1, length)
    with torch.no_grad(), LargestTensor() as largest:
        model(tokens)
    assert 0 < largest.numbers < length**2 / 8


# Generation


def test_generates_the_likeliest_token_without_a_generator():
    """Greedy: each new token is the argmax after those before it, every time; the prompt stays."""
    model, prompt = model_of("tra"), random_tokens(3, 6)
    continued = model.generate(prompt, 10)
    assert continued.shape == (3, 16)
    assert torch.equal(continued[:, :6], prompt)
    assert torch.equal(continued, model.generate(prompt, 10))
    assert torch.equal(continued[:, 6:], model(continued[:, :-1]).argmax(-1)[:, 5:])
    assert torch.equal(model.generate(prompt, 0), prompt)


def test_samples_with_a_generator():
    """Sampled: as the seed says, and the global random state stays as it was."""
    model, prompt = model_of("tra"), random_tokens(3, 6)
    before = torch.get_rng_state()
    one, again, other = (
        model.generate(prompt, 30, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(before, torch.get_rng_state())
    assert one.shape == (3, 36)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert not torch.equal(one, model.generate(prompt, 30))


def test_samples_follow_the_models_probabilities():
    """In 4,000 samples of a token, frequencies are within four standard errors of the softmax."""
    model = model_of("tra")
    prompt = torch.tensor([[0, 3, 1]]).expand(4000, 3)
    sampled = model.generate(prompt, 1, torch.Generator().manual_seed(0))[:, -1]
    with torch.no_grad():
        probability = model(prompt[:1])[0, -1].softmax(-1)
    frequency = torch.bincount(sampled, minlength=5) / 4000
    error = (probability * (1 - probability) / 4000).sqrt()
    assert ((frequency - probability).abs() < 4 * error).all()


# Half precision


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_model_in_bfloat16_stays_close_to_itself(mechanism):
    """In bfloat16 every mechanism runs, and its logits are those of float32 but for rounding."""
    model = model_of(mechanism)
    tokens = torch.randint(5, (2, 24), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wide, narrow = model(tokens), model.bfloat16()(tokens)
    assert narrow.dtype == torch.bfloat16
    assert (wide - narrow.float()).abs().mean() < 0.1 * wide.abs().mean()


# Size


@pytest.mark.parametrize(
    "mechanism", ["nope", "tra", "tra_beside_local", "ssmax", "entmax", "stick_breaking", "lstm"]
)
def test_parameters_counted_by_hand(mechanism):
    """2 V d of embedding and head; a layer has 4 d^2 + 3 d hidden + 2 d; TRA adds its gates.

    SSMax adds a scale a head. The LSTM of the same width has more: for each of four gates a matrix
    from the tokens, one from its state, and two biases, where attention has four matrices in all.
    """
    vocabulary, layers, heads, d = 5, 2, 4, 64
    hidden = 170  # 8 d / 3, rounded down
    layer = 4 * d * d + 3 * d * hidden + 2 * d
    gates = heads * (d + 1)  # w_h and b_h for each head
    more = {"tra": gates, "tra_beside_local": gates, "ssmax": heads, "lstm": 4 * d * d + 8 * d}
    layer += more.get(mechanism, 0)
    expected = 2 * vocabulary * d + layers * layer + d  # and the last norm
    assert GPT(GPTConfig(mechanism=mechanism)).parameter_count() == expected


def test_the_default_is_tra():
    assert GPTConfig().mechanism == "tra"


# Errors


def test_an_unknown_mechanism_is_told_all_known_ones():
    with pytest.raises(ValueError, match="^mechanism ") as raised:
        GPTConfig(mechanism="magic")
    assert "'magic'" in str(raised.value)
    assert "allowed" in str(raised.value)
    for mechanism in MECHANISMS:
        assert mechanism in str(raised.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("d_model", 30), ("d_model", 4), ("d_model", 0), ("n_head", 0), ("n_head", -1)]
    + [("n_layer", 0), ("vocab_size", 0), ("cope_table", 0)],
)
def test_bad_settings_are_named(name, value):
    """A ValueError says which setting, what was given and what is allowed."""
    with pytest.raises(ValueError, match=f"^{name} is {value};") as raised:
        GPTConfig(**{name: value})
    assert "allowed" in str(raised.value)


@pytest.mark.parametrize(
    ("tokens", "shown"),
    [
        (torch.tensor([[0, 1, 5]]), "5"),
        (torch.tensor([[0, -1, 4]]), "-1"),
        (torch.zeros(0, 4, dtype=torch.long), "(0, 4)"),
        (torch.zeros(4, 0, dtype=torch.long), "(4, 0)"),
        (torch.zeros(4, dtype=torch.long), "(4,)"),
        (torch.zeros(2, 3, 4, dtype=torch.long), "(2, 3, 4)"),
        (torch.zeros(2, 3), "float32"),
    ],
    ids=["above", "below", "no batch", "no tokens", "one dimension", "three dimensions", "floats"],
)
def test_bad_tokens_are_named(tokens, shown):
    """A ValueError says that it is the tokens, what was given and what is allowed."""
    with pytest.raises(ValueError, match="^tokens ") as raised:
        model_of("tra")(tokens)
    assert shown in str(raised.value)
    assert "allowed" in str(raised.value)


def test_fewer_than_no_new_tokens_are_named():
    with pytest.raises(ValueError, match="^new_tokens is -3; allowed"):
        model_of("tra").generate(torch.tensor([[0, 3]]), -3)
