"""Slow specifications that are easy to check by eye: the code is tested against them.

They are written from the formulas, not from the code: plain loops over Python numbers, one query
at a time. S[i][j] is the score of query i and key j. A row is a dictionary {j: logit}, and a
removed key is simply absent from it. ROWS holds the mechanisms of tra_mini and of experiments,
except the LSTM, which has no weights.
"""

import cmath
import math
from functools import partial
from types import SimpleNamespace

import torch

CORE = ("nope", "rope", "alibi", "fox", "tra")  # the mechanisms of tra_mini


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


# From a row of logits {j: logit} to a row of weights {j: weight}


def softmax(logits):
    """A row without keys stays empty."""
    highest = max(logits.values(), default=0.0)
    exponentials = {j: math.exp(logit - highest) for j, logit in logits.items()}
    total = sum(exponentials.values())
    return {j: exponential / total for j, exponential in exponentials.items()}


def entmax(logits):
    """max(0, logit / 2 - tau)^2, with the tau that makes the weights sum to 1, by bisection."""
    low = max(logits.values()) / 2 - 1  # there the highest logit alone has weight 1
    high = low + 1
    for _ in range(80):
        tau = (low + high) / 2
        total = sum(max(0.0, logit / 2 - tau) ** 2 for logit in logits.values())
        if total > 1:
            low = tau
        else:
            high = tau
    return {j: max(0.0, logit / 2 - low) ** 2 for j, logit in logits.items()}


def exponential(logits):
    return {j: math.exp(logit) for j, logit in logits.items()}


# One row of logits for each mechanism, from S (T x T), the position i of the query, and what the
# head has: h of n_head, delta (T log gates), slope (ALiBi), queries (T vectors) and table (CoPE),
# scale (SSMax), beta and gamma (T numbers, ASEntmax).


def nope(S, i, head):
    return {j: S[i][j] for j in range(i + 1)}


def alibi(S, i, head):
    return {j: S[i][j] - head.slope * (i - j) for j in range(i + 1)}


def fox(S, i, head):
    logits = {}
    for j in range(i + 1):
        logits[j] = S[i][j] + sum(head.delta[between] for between in range(j + 1, i + 1))
    return logits


def survivors(S, i, threshold=0.0):
    """The keys that survive for query i."""
    return [j for j in range(i + 1) if S[i][j] > threshold]


def distance(S, i, j, threshold=0.0):
    """c_ij: how many keys from j to i survive for query i."""
    return sum(1 for between in survivors(S, i, threshold) if between >= j)


def tra(S, i, head, threshold=0.0):
    logits = {}
    for j in survivors(S, i, threshold):
        logits[j] = S[i][j] + head.delta[i] * distance(S, i, j, threshold)
    return logits


def sparsity_only(S, i, head):
    return {j: S[i][j] for j in survivors(S, i)}


def sparsity_raw(S, i, head):
    return {j: S[i][j] + head.delta[i] * (i - j + 1) for j in survivors(S, i)}


def contextual_only(S, i, head):
    return {j: S[i][j] + head.delta[i] * distance(S, i, j) for j in range(i + 1)}


def distance_only(S, i, head):
    return {j: S[i][j] + head.delta[i] * (i - j + 1) for j in range(i + 1)}


def tra_beside_local(S, i, head):
    """TRA in the first half of the heads, raw distance without removal in the second."""
    if head.h < head.n_head / 2:
        return tra(S, i, head)
    return distance_only(S, i, head)


def cope(S, i, head):
    logits = {}
    for j in range(i + 1):
        position = sum(sigmoid(S[i][between]) for between in range(j, i + 1))
        position = min(position, len(head.table) - 1)
        logit_below = dot(head.queries[i], head.table[math.floor(position)])
        logit_above = dot(head.queries[i], head.table[math.ceil(position)])
        share = position - math.floor(position)
        logits[j] = S[i][j] + (1 - share) * logit_below + share * logit_above
    return logits


def nape(S, i, head):
    """Slopes 1, 1/2, 1/3, ... in the first half of the heads; no distance in the others."""
    logits = {}
    for j in range(i + 1):
        logits[j] = S[i][j]
        if head.h < head.n_head // 2:
            logits[j] -= (i - j) / (head.h + 1)
    return logits


def sharpened(S, i, head, sharpness):
    """nape, with the scores multiplied by a sharpness."""
    return nape({i: [sharpness * score for score in S[i]]}, i, head)


def ssmax(S, i, head):
    """In the heads without distance the sharpness is s log n, for n = i + 2."""
    if head.h < head.n_head // 2:
        return nape(S, i, head)
    return sharpened(S, i, head, head.scale * math.log(i + 2))


def asentmax(S, i, head):
    """There the sharpness is 1 + softplus(w_b . x) log(n)^(2 tanh(w_g . x)), for n = i + 2."""
    if head.h < head.n_head // 2:
        return nape(S, i, head)
    softplus = math.log(1 + math.exp(head.beta[i]))
    return sharpened(S, i, head, 1 + softplus * math.log(i + 2) ** (2 * math.tanh(head.gamma[i])))


def stick_breaking(S, i, head):
    """Logits are logarithms of weights. From the newest key on, each takes beta of what is left."""
    logits = {}
    left = 1.0
    for j in range(i - 1, -1, -1):
        beta = sigmoid(S[i][j])
        logits[j] = math.log(beta * left)
        left *= 1 - beta
    return {j: logits[j] for j in sorted(logits)}


def stick_breaking_whole(S, i, head):
    """The query's own key takes what the earlier ones leave."""
    logits = stick_breaking(S, i, head)
    left = math.prod(1 - sigmoid(S[i][j]) for j in range(i))
    return {**logits, i: math.log(left)}


ROWS = {
    "nope": nope,
    "rope": nope,  # its positions are in the queries and keys
    "alibi": alibi,
    "fox": fox,
    "tra": tra,
    "sparsity_only": sparsity_only,
    "sparsity_raw": sparsity_raw,
    "contextual_only": contextual_only,
    "distance_only": distance_only,
    "tra_beside_local": tra_beside_local,
    "tra_annealed": tra,  # outside training
    "tra_low_threshold": partial(tra, threshold=-1.0),
    "sinusoidal": nope,  # its positions are in the embeddings
    "cope": cope,
    "ssmax": ssmax,
    "entmax": nape,
    "asentmax": asentmax,
    "stick_breaking": stick_breaking,
    "stick_breaking_whole": stick_breaking_whole,
}
NORMALISE = {  # and softmax for all others
    "entmax": entmax,
    "asentmax": entmax,
    "stick_breaking": exponential,
    "stick_breaking_whole": exponential,
}


# Whole layers


def score_matrix(queries, keys):
    """S_ij = q_i . k_j / sqrt(D), for lists of T vectors."""
    return [[dot(q, k) / math.sqrt(len(q)) for k in keys] for q in queries]


def weigh(rows, values, normalise=softmax):
    """Rows {j: logit}, T values -> T outputs, and T x T weights with a zero for each absent key."""
    length = len(values)
    width = len(values[0])
    outputs = []
    weights = []
    for row in rows:
        present = normalise(row)
        weights.append([present.get(j, 0.0) for j in range(length)])
        outputs.append([sum(present[j] * values[j][d] for j in present) for d in range(width)])
    return outputs, weights


def threshold_relative_attention(q, k, v, log_forget, threshold=0.0):
    """TRA by loops: q, k, v (B, H, T, D), log_forget (B, H, T) -> output, weights (B, H, T, T)."""
    batch, heads, length, _ = q.shape
    outputs = []
    weights = []
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


def whole_matrix(q, k, v, log_forget, threshold=0.0):
    """TRA over whole T x T matrices, differentiable: flip, cumulate, flip; remove with -inf."""
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    earlier = torch.ones_like(scores, dtype=torch.bool).tril()
    keep = (scores > threshold) & earlier
    distances = keep.to(scores.dtype).flip(-1).cumsum(-1).flip(-1)
    logits = (scores + log_forget.unsqueeze(-1) * distances).masked_fill(~keep, -math.inf)
    silent = ~keep.any(-1, keepdim=True)
    weights = logits.masked_fill(silent, 0.0).softmax(-1).masked_fill(silent, 0.0)
    return weights @ v, weights


def rms_normalise(vector):
    root_mean_square = math.sqrt(sum(x * x for x in vector) / len(vector))
    return [x / root_mean_square for x in vector]


def rotate(vector, position):
    """RoPE: entries m and m + D/2, one complex number, turned by position / 10000^(2m/D)."""
    width = len(vector)
    half = width // 2
    numbers = []
    for m in range(half):
        angle = position / 10000 ** (2 * m / width)
        numbers.append(complex(vector[m], vector[m + half]) * cmath.exp(1j * angle))
    return [number.real for number in numbers] + [number.imag for number in numbers]


def head_of(mechanism, module, x, h):
    """Everything that head h of a layer computes from x (T, d_model), from its parameters."""
    length, d_model = x.shape
    width = d_model // module.n_head

    # Rows of the projection: first all queries, then all keys, then all values, each by heads.
    parts = []
    for which in range(3):
        first = which * d_model + h * width
        parts.append((x @ module.project.weight[first : first + width].T).tolist())
    queries = [rms_normalise(vector) for vector in parts[0]]
    keys = [rms_normalise(vector) for vector in parts[1]]
    if mechanism == "rope":
        queries = [rotate(queries[i], i) for i in range(length)]
        keys = [rotate(keys[i], i) for i in range(length)]

    # What only some of the mechanisms have.
    head = SimpleNamespace(queries=queries, keys=keys, values=parts[2], h=h, n_head=module.n_head)
    head.slope = 2 ** (-8 * (h + 1) / module.n_head)
    if hasattr(module, "gate"):
        openings = (x @ module.gate.weight[h] + module.gate.bias[h]).tolist()
        head.delta = [math.log(sigmoid(z)) for z in openings]
    if hasattr(module, "table"):
        head.table = module.table.tolist()
    without_distance = h - module.n_head // 2
    if hasattr(module, "scale") and without_distance >= 0:
        head.scale = module.scale[without_distance].item()
    for name in ("beta", "gamma"):
        if hasattr(module, name):
            weight = getattr(module, name).weight
            setattr(head, name, (x @ weight[without_distance]).tolist())
    return head


@torch.no_grad()
def attention_module(mechanism, module, x):
    """A mechanism's layer by loops: x (B, T, d_model) -> output (like x), weights (B, H, T, T)."""
    outputs = []
    weights = []
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
