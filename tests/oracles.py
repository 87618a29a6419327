"""Slow, obviously right specifications that the package is tested against.

They are written from the formulas, not from the package: plain loops over Python numbers, a query
at a time. S[i][j] is the score of query i and key j; a removed key is simply absent from a row's
dictionary {j: logit}. ROWS holds every mechanism that has weights: all but the LSTM.
"""

import cmath
import math
from functools import partial
from types import SimpleNamespace

import torch


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def softmax(logits):
    """{j: logit} -> {j: weight}; a row without keys stays empty."""
    highest = max(logits.values(), default=0.0)
    exponentials = {j: math.exp(logit - highest) for j, logit in logits.items()}
    total = sum(exponentials.values())
    return {j: exponential / total for j, exponential in exponentials.items()}


def entmax(logits):
    """{j: logit} -> {j: max(0, logit / 2 - tau)^2}, tau found by halving: the weights sum to 1."""
    low = max(logits.values()) / 2 - 1  # the highest logit alone would have weight 1
    high = low + 1
    for _ in range(80):
        tau = (low + high) / 2
        total = sum(max(0.0, logit / 2 - tau) ** 2 for logit in logits.values())
        low, high = (tau, high) if total > 1 else (low, tau)
    return {j: max(0.0, logit / 2 - low) ** 2 for j, logit in logits.items()}


def stick(betas):
    """Shares beta, the newest key's first -> what each takes of what those before it left."""
    left, taken = 1.0, []
    for beta in betas:
        taken.append(beta * left)
        left *= 1 - beta
    return taken


def score_matrix(queries, keys):
    """S_ij = q_i . k_j / sqrt(D), for lists of T vectors."""
    return [[dot(q, k) / math.sqrt(len(q)) for k in keys] for q in queries]


def weigh(rows, values, normalise=softmax):
    """Rows {j: logit}, T values -> T outputs, and T x T weights with a zero for each absent key."""
    length, width = len(values), len(values[0])
    outputs, weights = [], []
    for row in rows:
        present = normalise(row)
        weights.append([present.get(j, 0.0) for j in range(length)])
        outputs.append([sum(present[j] * values[j][d] for j in present) for d in range(width)])
    return outputs, weights


# One row of logits for each mechanism: S (T x T), the query's place i, and what the head knows:
# h of n_head, delta (T log gates), slope (ALiBi), queries (T vectors) and table (CoPE), scale
# (SSMax).


def nope(S, i, head):
    return {j: S[i][j] for j in range(i + 1)}


def alibi(S, i, head):
    return {j: S[i][j] - head.slope * (i - j) for j in range(i + 1)}


def cope(S, i, head):
    logits = {}
    for j in range(i + 1):
        position = sum(sigmoid(S[i][between]) for between in range(j, i + 1))
        position = min(position, len(head.table) - 1)
        below, above = math.floor(position), math.ceil(position)
        z_below = dot(head.queries[i], head.table[below])
        z_above = dot(head.queries[i], head.table[above])
        share = position - below
        logits[j] = S[i][j] + (1 - share) * z_below + share * z_above
    return logits


def fox(S, i, head):
    return {
        j: S[i][j] + sum(head.delta[between] for between in range(j + 1, i + 1))
        for j in range(i + 1)
    }


def survivors(S, i, threshold=0.0):
    return [j for j in range(i + 1) if S[i][j] > threshold]


def distance(S, i, j, threshold=0.0):
    """c_ij: how many keys from j to i survive for query i."""
    return sum(1 for between in survivors(S, i, threshold) if between >= j)


def sparsity_only(S, i, head):
    return {j: S[i][j] for j in survivors(S, i)}


def sparsity_raw(S, i, head):
    return {j: S[i][j] + head.delta[i] * (i - j + 1) for j in survivors(S, i)}


def distance_only(S, i, head):
    return {j: S[i][j] + head.delta[i] * (i - j + 1) for j in range(i + 1)}


def contextual_only(S, i, head):
    return {j: S[i][j] + head.delta[i] * distance(S, i, j) for j in range(i + 1)}


def tra(S, i, head, threshold=0.0):
    return {
        j: S[i][j] + head.delta[i] * distance(S, i, j, threshold)
        for j in survivors(S, i, threshold)
    }


def half_alibi(S, i, head):
    """ALiBi on the first head, the third, the fifth ...; no distance on the second, the fourth."""
    return alibi(S, i, head) if head.h in range(0, head.n_head, 2) else nope(S, i, head)


def ssmax(S, i, head):
    """All scores of a row times s log n, n = i + 1 keys."""
    sharper = [head.scale * math.log(i + 1) * score for score in S[i]]
    return half_alibi({i: sharper}, i, head)


def stick_breaking(S, i, head):
    """Logits as logarithms of weights, and these by products alone."""
    earlier = range(i - 1, -1, -1)
    taken = stick([sigmoid(S[i][j]) for j in earlier])
    return {j: math.log(weight) for j, weight in reversed(list(zip(earlier, taken, strict=True)))}


def tra_beside(other):
    """TRA on the first half of the heads, another mechanism's row on the second."""

    def row(S, i, head):
        return tra(S, i, head) if head.h < head.n_head / 2 else other(S, i, head)

    return row


ROWS = {
    "nope": nope,
    "sinusoidal": nope,  # its positions are in the embeddings
    "rope": nope,  # its positions are in the queries and keys
    "alibi": alibi,
    "cope": cope,
    "fox": fox,
    "sparsity_only": sparsity_only,
    "sparsity_raw": sparsity_raw,
    "distance_only": distance_only,
    "contextual_only": contextual_only,
    "ssmax": ssmax,
    "entmax": half_alibi,
    "stick_breaking": stick_breaking,
    "tra_beside_nope": tra_beside(nope),
    "tra_beside_local": tra_beside(distance_only),
    "tra_slow_gates": tra,  # other first gates
    "tra_spread_gates": tra,
    "tra_annealed": tra,  # outside training
    "tra_low_threshold": partial(tra, threshold=-1.0),
    "tra": tra,
}
NORMALISE = {
    "entmax": entmax,
    "stick_breaking": lambda row: {j: math.exp(logit) for j, logit in row.items()},
}  # and softmax for all others


def threshold_relative_attention(q, k, v, log_forget, threshold=0.0):
    """TRA by loops: q, k, v (B, H, T, D), log_forget (B, H, T) -> output, weights (B, H, T, T)."""
    batch, heads, length, _ = q.shape
    outputs, weights = [], []
    for b in range(batch):
        for h in range(heads):
            S = score_matrix(q[b, h].tolist(), k[b, h].tolist())
            head = SimpleNamespace(delta=log_forget[b, h].tolist())
            rows = [tra(S, i, head, threshold) for i in range(length)]
            output, weight = weigh(rows, v[b, h].tolist())
            outputs.append(output)
            weights.append(weight)
    outputs = torch.tensor(outputs, dtype=torch.float64)
    weights = torch.tensor(weights, dtype=torch.float64)
    return outputs.unflatten(0, (batch, heads)), weights.unflatten(0, (batch, heads))


def rms_normalised(vector):
    root_mean_square = math.sqrt(sum(x * x for x in vector) / len(vector))
    return [x / root_mean_square for x in vector]


def rotated(vector, position):
    """RoPE: entries m and m + D/2, one complex number, turned by position / 10000^(2m/D)."""
    width = len(vector)
    half = width // 2
    turned = [
        complex(vector[m], vector[m + half]) * cmath.exp(1j * position / 10000 ** (2 * m / width))
        for m in range(half)
    ]
    return [number.real for number in turned] + [number.imag for number in turned]


def head_of(mechanism, module, x, h):
    """All that head h of a mechanism's module computes from x (T, d_model), by its parameters."""
    length, d_model = x.shape
    width = d_model // module.n_head
    parts = []
    for which in range(3):  # rows of the projection: all queries, all keys, all values; by heads
        first = which * d_model + h * width
        parts.append((x @ module.project.weight[first : first + width].T).tolist())
    queries = [rms_normalised(vector) for vector in parts[0]]
    keys = [rms_normalised(vector) for vector in parts[1]]
    if mechanism == "rope":
        queries = [rotated(queries[i], i) for i in range(length)]
        keys = [rotated(keys[i], i) for i in range(length)]
    head = SimpleNamespace(queries=queries, keys=keys, values=parts[2], h=h, n_head=module.n_head)
    head.slope = 2 ** (-8 * (h + 1) / module.n_head)  # for a power of two of heads
    if hasattr(module, "gate"):
        opened = (x @ module.gate.weight[h] + module.gate.bias[h]).tolist()
        head.delta = [math.log(sigmoid(z)) for z in opened]
    if hasattr(module, "table"):
        head.table = module.table.tolist()
    if hasattr(module, "scale"):
        head.scale = module.scale[h].item()
    return head


@torch.no_grad()
def attention_module(mechanism, module, x):
    """A mechanism's module by loops: x (B, T, d_model) -> output (like x), weights (B, H, T, T)."""
    outputs, weights = [], []
    for sequence in x:
        by_head = []
        for h in range(module.n_head):
            head = head_of(mechanism, module, sequence, h)
            S = score_matrix(head.queries, head.keys)
            rows = [ROWS[mechanism](S, i, head) for i in range(len(S))]
            output, weight = weigh(rows, head.values, NORMALISE.get(mechanism, softmax))
            by_head.append(torch.tensor(output, dtype=torch.float64))
            weights.append(weight)
        outputs.append(torch.cat(by_head, -1) @ module.output.weight.T)
    weights = torch.tensor(weights, dtype=torch.float64).unflatten(0, (len(x), module.n_head))
    return torch.stack(outputs), weights


def whole_matrix(q, k, v, log_forget, threshold=0.0):
    """TRA over whole T x T matrices, differentiable: flip, cumulate, flip; remove with -inf."""
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    earlier = torch.ones_like(scores, dtype=torch.bool).tril()
    keep = (scores > threshold) & earlier
    distances = keep.to(scores.dtype).flip(-1).cumsum(-1).flip(-1)
    logits = (scores + log_forget.unsqueeze(-1) * distances).masked_fill(~keep, -math.inf)
    dead = ~keep.any(-1, keepdim=True)
    weights = logits.masked_fill(dead, 0.0).softmax(-1).masked_fill(dead, 0.0)
    return weights @ v, weights
