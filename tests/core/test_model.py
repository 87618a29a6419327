"""What must hold of the GPT around the mechanisms: causality, weights, sampling, memory, errors."""

import oracles
import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tra_mini import GPT, MECHANISMS, GPTConfig
from tra_mini.attention import BLOCK_SIZE


def model_of(mechanism="tra", n_layer=2):
    """A small GPT with random weights."""
    torch.manual_seed(0)
    config = GPTConfig(mechanism=mechanism, n_layer=n_layer, d_model=16, n_head=2)
    return GPT(config).eval()


def random_tokens(batch, length, seed=1):
    return torch.randint(5, (batch, length), generator=torch.Generator().manual_seed(seed))


# Forward


@pytest.mark.parametrize("mechanism", oracles.CORE)
@torch.no_grad()
def test_future_tokens_change_no_earlier_logits(mechanism):
    """Causality through the whole GPT, across blocks of rows and within one."""
    model = model_of(mechanism).double()
    tokens = random_tokens(1, BLOCK_SIZE + 9)
    other = random_tokens(1, BLOCK_SIZE + 9, seed=2)
    logits = model(tokens)
    for place in (1, 20, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 3):
        new_logits = model(torch.cat((tokens[:, :place], other[:, place:]), 1))
        torch.testing.assert_close(new_logits[:, :place], logits[:, :place], rtol=1e-12, atol=1e-12)
        assert not torch.allclose(new_logits[:, place:], logits[:, place:])


@pytest.mark.parametrize("mechanism", oracles.CORE)
def test_weights_of_every_layer(mechanism):
    """One (B, H, T, T) tensor a layer, without future keys; the logits are those without weights.

    Rows sum to 1; those of TRA may be silent.
    """
    model = model_of(mechanism, n_layer=3)
    tokens = random_tokens(2, 70)
    logits, maps = model(tokens, return_weights=True)
    assert torch.equal(logits, model(tokens))
    assert len(maps) == 3
    for weights in maps:
        assert weights.shape == (2, 2, 70, 70)
        assert (weights >= 0).all()
        assert torch.count_nonzero(weights.triu(1)) == 0
        sums = weights.sum(-1)
        silent = sums == 0
        assert (silent | ((sums - 1).abs() < 1e-5)).all()
        assert mechanism == "tra" or not silent.any()


def test_a_batch_is_its_sequences():
    """Sequences of one batch do not see each other."""
    model = model_of().double()
    tokens = random_tokens(3, 20)
    one_by_one = torch.cat([model(row[None]) for row in tokens])
    torch.testing.assert_close(model(tokens), one_by_one)


def test_a_block_is_two_residual_branches():
    """y = x + attention(norm(x)), then y + down(silu(gate) * value), gate and value of norm(y)."""
    block = model_of().double().blocks[0]
    for norm in (block.norm_attention, block.norm_mlp):
        torch.nn.init.normal_(norm.weight)
    x = torch.randn(2, 7, 16, dtype=torch.float64)

    def rms_norm(x, norm):
        return x / x.square().mean(-1, keepdim=True).sqrt() * norm.weight

    y = x + block.attention(rms_norm(x, block.norm_attention))[0]
    gate, value = (rms_norm(y, block.norm_mlp) @ block.up.weight.T).chunk(2, -1)
    expected = y + (gate * torch.sigmoid(gate) * value) @ block.down.weight.T
    torch.testing.assert_close(block(x)[0], expected)


@pytest.mark.parametrize("mechanism", oracles.CORE)
def test_every_parameter_learns(mechanism):
    """Every parameter, the gates' too, gets a finite gradient other than 0."""
    model = model_of(mechanism)
    tokens = random_tokens(4, 24, seed=3)
    F.cross_entropy(model(tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert (parameter.grad != 0).any(), name


@pytest.mark.parametrize("mechanism", oracles.CORE)
@torch.no_grad()
def test_a_model_in_bfloat16_stays_close_to_itself(mechanism):
    """In bfloat16 every mechanism runs, and its logits are those of float32 except for rounding."""
    model = model_of(mechanism)
    tokens = random_tokens(2, 24)
    wide = model(tokens)
    narrow = model.bfloat16()(tokens)
    assert narrow.dtype == torch.bfloat16
    assert (wide - narrow.float()).abs().mean() < 0.1 * wide.abs().mean()


# Length and memory


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


@pytest.mark.parametrize("mechanism", oracles.CORE)
@torch.no_grad()
def test_length_has_no_limit_and_memory_does_not_grow_with_its_square(mechanism):
    """At T = 4096 the logits are finite, and no tensor has even an eighth of T x T numbers."""
    length = 4096
    model = model_of(mechanism, n_layer=1)
    with LargestTensor() as largest:
        logits = model(random_tokens(1, length))
    assert logits.shape == (1, length, 5)
    assert logits.isfinite().all()
    assert 0 < largest.numbers < length**2 / 8


# Generation


def test_generate_samples_token_by_token():
    """Each new token is drawn from the model's probabilities after all tokens before it."""
    model = model_of()
    prompt = random_tokens(3, 6)
    continued = model.generate(prompt, 10, torch.Generator().manual_seed(1))
    assert continued.shape == (3, 16)
    assert torch.equal(continued[:, :6], prompt)
    generator = torch.Generator().manual_seed(1)
    for place in range(6, 16):
        with torch.no_grad():
            probability = model(continued[:, :place])[:, -1].softmax(-1)
        choice = torch.multinomial(probability, 1, generator=generator)
        assert torch.equal(continued[:, place], choice[:, 0])


def test_generated_tokens_follow_the_models_probabilities():
    """In 4,000 samples of a token, frequencies are within four standard errors of the softmax."""
    model = model_of()
    prompt = torch.tensor([[0, 3, 1]]).expand(4000, 3)
    samples = model.generate(prompt, 1, torch.Generator().manual_seed(0))[:, -1]
    with torch.no_grad():
        probability = model(prompt[:1])[0, -1].softmax(-1)
    frequency = torch.bincount(samples, minlength=5) / 4000
    error = (probability * (1 - probability) / 4000).sqrt()
    assert ((frequency - probability).abs() < 4 * error).all()


def test_the_generator_alone_decides_what_is_generated():
    """One seed gives one continuation; the global random state is neither used nor moved."""
    model = model_of()
    prompt = random_tokens(3, 6)
    before = torch.get_rng_state()
    one = model.generate(prompt, 30, torch.Generator().manual_seed(1))
    other = model.generate(prompt, 30, torch.Generator().manual_seed(2))
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(3)
    again = model.generate(prompt, 30, torch.Generator().manual_seed(1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_no_new_tokens_leave_the_prompt():
    prompt = random_tokens(3, 6)
    assert torch.equal(model_of().generate(prompt, 0, torch.Generator()), prompt)


# Size and settings


@pytest.mark.parametrize("mechanism", oracles.CORE)
def test_parameters_counted_by_hand(mechanism):
    """2 V d of embedding and head; a layer has 4 d^2 + 3 d hidden + 2 d; FoX and TRA add gates."""
    vocabulary = 5
    n_layer = 2
    n_head = 8
    d = 64
    hidden = 170  # 8 d / 3, rounded down
    layer = 4 * d * d + 3 * d * hidden + 2 * d
    if mechanism in ("fox", "tra"):
        layer += n_head * (d + 1)  # w_h and b_h for each head
    expected = 2 * vocabulary * d + n_layer * layer + d  # and the last norm
    assert GPT(GPTConfig(mechanism=mechanism)).parameter_count() == expected


def test_an_unknown_mechanism_is_named_with_all_known_ones():
    with pytest.raises(ValueError, match="^mechanism is 'magic'; allowed: ") as error:
        GPTConfig(mechanism="magic")
    for mechanism in MECHANISMS:
        assert mechanism in str(error.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("vocab_size", 0),
        ("n_layer", 0),
        ("n_head", 0),
        ("n_head", -1),
        ("d_model", 0),
        ("d_model", 4),  # a head would have width 1, and RoPE needs pairs
        ("d_model", 30),
    ],
)
def test_impossible_sizes_are_named(name, value):
    """A ValueError shows the settings and says what is allowed."""
    with pytest.raises(ValueError, match=rf"{name}={value}\b.*; allowed: 1 or more, and d_model"):
        GPTConfig(**{name: value})


@pytest.mark.parametrize(
    ("tokens", "quote"),
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
def test_bad_tokens_are_named(tokens, quote):
    """A ValueError says that it is the tokens, what they are and what is allowed."""
    with pytest.raises(ValueError, match="^tokens ") as error:
        model_of()(tokens)
    assert quote in str(error.value)
    assert "allowed" in str(error.value)


@pytest.mark.parametrize("mechanism", ["tra", "fox"])
def test_a_model_can_be_exported(mechanism):
    """Checks of values stand aside while torch.export traces; the graph gives the same logits."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(mechanism=mechanism, n_layer=1)).eval()
    tokens = torch.randint(5, (2, 70))
    graph = torch.export.export(model, (tokens,)).module()
    torch.testing.assert_close(graph(tokens), model(tokens), rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("mechanism", oracles.CORE)
def test_a_model_works_under_vmap(mechanism):
    """Over strings, and over the weights of several models of one kind."""
    torch.manual_seed(0)
    config = GPTConfig(mechanism=mechanism, n_layer=1)
    models = [GPT(config).requires_grad_(False) for _ in range(3)]
    tokens = torch.randint(5, (3, 2, 70))
    expected = torch.stack([models[0](batch) for batch in tokens])
    torch.testing.assert_close(torch.vmap(models[0])(tokens), expected, rtol=1e-5, atol=1e-5)
    tokens[1, 0, 0] = 5
    with pytest.raises(ValueError, match="^tokens are 0..5; allowed: 0..4$"):
        torch.vmap(models[0])(tokens)

    def logits(weights, tokens):
        return torch.func.functional_call(models[0], weights, (tokens,))

    weights, _ = torch.func.stack_module_state(models)
    expected = torch.stack([model(tokens[0]) for model in models])
    mapped = torch.vmap(logits, in_dims=(0, None))(weights, tokens[0])
    torch.testing.assert_close(mapped, expected, rtol=1e-5, atol=1e-5)
