"""Checks of the exercises that follow notebook 04; each raises Wrong, or returns silently."""

import math

import torch
from checking import Wrong, call, check, fresh, gradients, numbers, shaped, tensor

TEXT = "w1w0i1r0"
LARGEST = 4.0  # the largest score of a head of width 16
FORGET = math.log(0.5)


def table_scores():
    """S of TEXT, as rows of j <= i: its vectors are those of notebook 04."""
    root = math.sqrt(2)
    rows = []
    for i, token in enumerate(TEXT):
        query = (root, 0) if token in "01" else (0, root)
        rows.append([])
        for j in range(i + 1):
            written = TEXT[j] in "01" and TEXT[j - 1] == "w"
            key = {"w": (root, 0), "i": (1, -1), "r": (1, -1)}.get(TEXT[j], (-1, -1))
            key = (0, root) if written else key
            rows[i].append((query[0] * key[0] + query[1] * key[1]) / root)
    return rows


@check
def exercise_4_1(drawing):
    """A string drawn by hand: which keys survive, and at which distance."""
    scores = table_scores()
    rows = call(drawing)
    if not isinstance(rows, list | tuple) or not all(isinstance(row, str) for row in rows):
        raise Wrong("drawing() must return a list of strings, one for each row")
    if len(rows) != len(TEXT):
        raise Wrong(f"the drawing has {len(rows)} rows; expected: {len(TEXT)}, one for each query")
    for i, (row, S) in enumerate(zip(rows, scores, strict=True)):
        where = f"row {i} ({TEXT[i]!r})"
        if len(row) != i + 1:
            raise Wrong(
                f"{where} has {len(row)} characters; a query sees keys 0 to {i}, itself included"
            )
        if not all(character == "." or character.isdecimal() for character in row):
            raise Wrong(f"{where} is {row!r}; allowed: dots and digits")
        for j, score in enumerate(S):
            if row[j] != "." and score == 0:
                raise Wrong(f"{where}: key {j} has a score of exactly 0, and 0 is not above 0")
            if (row[j] != ".") != (score > 0):
                done = "removed" if row[j] == "." else "kept"
                raise Wrong(f"{where}: you {done} key {j}; look at the sign of its score again")
        kept = [int(character) for character in row if character != "."]
        if kept and kept[-1] != 1:
            raise Wrong(f"{where}: its nearest survivor is at {kept[-1]}; c counts the key itself")
        if kept != sorted(kept, reverse=True) or len(set(kept)) != len(kept):
            raise Wrong(f"{where}: distances must grow from the query back")
        if kept != list(range(len(kept), 0, -1)):
            raise Wrong(f"{where}: its survivors are correct; but count only survivors, not tokens")


def survivors_by_loop(scores, log_forget, threshold):
    """TRA's weights (H, T, T), a threshold a head, from the formula; a list of tensors inside."""
    H, T = log_forget.shape
    weights = [[[scores.new_zeros(())] * T for _ in range(T)] for _ in range(H)]
    for h in range(H):
        for i in range(T):
            kept = [j for j in range(i + 1) if scores[h, i, j] > threshold[h]]
            logits = {}
            for j in kept:
                distance = sum(key >= j for key in kept)
                logits[j] = scores[h, i, j] + log_forget[h, i] * distance
            top = max((logit.item() for logit in logits.values()), default=0)
            total = sum((logit - top).exp() for logit in logits.values())
            for j in kept:
                weights[h][i][j] = (logits[j] - top).exp() / total
    return torch.stack([torch.stack([torch.stack(row) for row in head]) for head in weights])


def threshold_inputs(H, T, dtype, generator):
    """Scores (H, T, T), gates, thresholds; some rows silent, some keys at the threshold."""
    scores = 1.5 * torch.randn(H, T, T, generator=generator, dtype=dtype)
    scores += torch.full((T, T), 5.0).triu(1)  # tempting: later keys score high
    threshold = torch.tensor([-0.5, 0.0, 0.75, 1.5], dtype=dtype)
    threshold = threshold[torch.randperm(4, generator=generator)[:H]]
    for h in range(H):
        silent, level = (torch.randperm(T - 3, generator=generator)[:2] + 1).tolist()
        scores[h, silent, : silent + 1] = threshold[h] - 0.1 - scores[h, silent, : silent + 1].abs()
        scores[h, level, 0] = threshold[h]
        scores[h, level, level] = threshold[h] + 1
        scores[h, -2, 0:-1:2] = threshold[h] + 0.2  # just above it and just below, in turn
        scores[h, -2, 1:-1:2] = threshold[h] - 0.2
    log_forget = -2 * torch.rand(H, T, generator=generator, dtype=dtype) - 0.1
    log_forget[:, -1] = -1e6  # strict: exp of such a logit is 0
    scores[:, -1, -1] = threshold + 0.5
    return scores, log_forget, threshold


@check
def exercise_4_2(weights):
    """Causality, the threshold itself, silent rows, sums, distances, then gradients."""
    generator, seed = fresh()
    for H, T, dtype in ((3, 8, torch.float64), (4, 6, torch.float32), (1, 5, torch.float32)):
        scores, log_forget, threshold = threshold_inputs(H, T, dtype, generator)
        where = f"seed {seed}"
        if dtype == torch.float32:
            where = f"{H} heads, {T} tokens, float32, seed {seed}"
        check_weights(weights, scores, log_forget, threshold, where)
        pull = torch.randn(scores.shape, generator=generator, dtype=dtype)
        check_gradients(weights, scores, log_forget, threshold, pull, where)


def check_weights(weights, scores, log_forget, threshold, where):
    """The weights, one property after the other, against the loop."""
    keep = (scores > threshold[:, None, None]).tril()
    silent = ~keep.any(-1)
    answer = shaped(call(weights, scores, log_forget, threshold), scores.shape, "weights(...)")
    if answer.isnan().any(-1)[silent].any():
        raise Wrong(f"a row without survivors holds NaN ({where})")
    if answer.isnan().any():
        raise Wrong(f"a row holds NaN ({where})")
    if answer.triu(1)[~silent].any():
        raise Wrong(f"causality: a query gives weight to a later key ({where})")
    if answer[silent].any():
        raise Wrong(f"a row without survivors must be silent: all zeros ({where})")
    check_removal(answer, keep, scores, threshold, where)
    if not close(answer.sum(-1)[~silent], torch.ones(1)):
        raise Wrong(f"a row with survivors must add up to 1, however strict its gate is ({where})")
    later = scores + torch.full(scores.shape[1:], 1000.0).triu(1)
    if not close(tensor(call(weights, later, log_forget, threshold), scores.shape), answer):
        raise Wrong(f"a row changes with the scores of later keys ({where})")
    gates = torch.zeros_like(log_forget)
    free = tensor(call(weights, scores, gates, threshold), scores.shape)
    if not close(free, survivors_by_loop(scores, gates, threshold)):
        raise Wrong(f"with open gates (log_forget 0) the weights of survivors differ ({where})")
    if not close(answer, survivors_by_loop(scores, log_forget, threshold)):
        raise Wrong(
            "correct with open gates, wrong with closed ones: whose gate does a row use, and"
            f" what does its distance count? ({where})"
        )


def check_removal(answer, keep, scores, threshold, where):
    """No weight for a key below its head's threshold, nor for one exactly at it."""
    level = (scores == threshold[:, None, None]).tril()
    if answer[~keep & ~level].any():
        h, i, j = ((answer != 0) & ~keep & ~level).nonzero()[0].tolist()
        raise Wrong(
            f"head {h}, row {i}: key {j} scores {scores[h, i, j]:.2f}, the head's threshold is"
            f" {threshold[h]:g}, and its weight is {answer[h, i, j]:.3g}, not 0 ({where})"
        )
    if answer[level].any():
        raise Wrong(f"a key exactly at the threshold survives, but it is not above it ({where})")


def check_gradients(weights, scores, log_forget, threshold, pull, where):
    """Gradients equal to those of the loop, and never NaN, in silent rows too."""
    leaves = (scores.clone().requires_grad_(), log_forget.clone().requires_grad_())
    expected = gradients(survivors_by_loop(*leaves, threshold), pull, leaves)
    answers = gradients(call(weights, *leaves, threshold), pull, leaves)
    for name, gradient, slope in zip(("scores", "log_forget"), answers, expected, strict=True):
        if gradient.isnan().any():
            raise Wrong(f"the weights are correct, but the gradient of {name} is NaN ({where})")
        if not close(gradient, slope):
            raise Wrong(f"the weights are correct, but the gradient of {name} is not ({where})")


def close(ours, theirs):
    """Equal but for rounding."""
    return torch.allclose(ours.double(), theirs.double(), rtol=1e-3, atol=1e-4)


def distance_by_loop(scores, keep, cap):
    """min(cap, sum of the surviving scores from j to i); 0 for a removed key."""
    distance = [scores.new_zeros(())] * scores.numel()
    T = scores.shape[-1]
    rows = zip(scores.view(-1, T), keep.view(-1, T), strict=True)
    for place, (row, alive) in enumerate(rows):
        for j in alive.nonzero().flatten().tolist():
            total = row[j:][alive[j:]].sum()
            if total > cap:
                total = scores.new_full((), cap)
            distance[place * T + j] = total
    return torch.stack(distance).view_as(scores)


DISTANCE_INPUTS = (  # shape, the threshold that keep was made with, the cap, the type
    ((2, 3, 9, 9), 0.0, math.inf, torch.float64),
    ((2, 3, 9, 9), 0.0, 2.5, torch.float64),
    ((1, 1, 4, 4), 0.0, 2, torch.float32),
    ((1, 2, 7, 7), 0.75, 3.5, torch.float64),
    ((2, 1, 8, 8), -0.75, 1.5, torch.float32),
)


@check
def exercise_4_3(weighted_distance):
    """Distances of survivors, and their gradients; those of removed keys may be anything."""
    generator, seed = fresh()
    for shape, threshold, cap, dtype in DISTANCE_INPUTS:
        scores = torch.randn(shape, generator=generator, dtype=dtype)
        scores[..., -1, -1] = 1.0  # a survivor in any case
        keep = (scores > threshold).tril()
        scores.requires_grad_()
        expected = distance_by_loop(scores, keep, cap)
        answer = shaped(call(weighted_distance, scores, keep, cap), shape, "the distance")

        wrong = keep & ~torch.isclose(answer.double(), expected.double(), rtol=1e-4, atol=1e-4)
        if wrong.any():
            b, h, i, j = wrong.nonzero()[0].tolist()
            told = about_distance(scores[b, h, i], keep[b, h, i], j, answer[b, h, i, j].item())
            raise Wrong(f"cap {cap}, keep: scores above {threshold:g}: {told} (seed {seed})")

        pull = keep * torch.randn(shape, generator=generator, dtype=dtype)
        [slope] = gradients(expected, pull, [scores])
        [gradient] = gradients(answer, pull, [scores])
        if not close(gradient, slope):
            raise Wrong(f"correct distances with wrong gradients (cap {cap}, seed {seed})")


def about_distance(scores, keep, j, distance):
    """What was answered for the survivor j of a row, in a few words."""
    alive = [f"{scores[key]:.2f}" for key in keep.nonzero().flatten().flip(0).tolist()]
    told = f"a row's survivors score {', '.join(alive)} (from the query back)"
    return f"{told}; you put number {keep[j:].sum()} of them at distance {distance:.2f}"


def nearest_weight(scores, variant):
    """Weight of the nearest survivor; scores nearest first, f = 1/2; float64 throughout."""
    logits = []
    total = 0.0
    for rank, score in enumerate(scores, 1):
        total += score
        distance = {"capped": min(rank, 8), "weighted": total, "squared": rank**2}[variant]
        logits.append(score + FORGET * distance)
    return 1 / math.fsum(math.exp(min(700, logit - logits[0])) for logit in logits)


@check
def exercise_4_4(witness):
    """Each witness is tested, and where there is none, none may be given."""
    for variant, exists in {"capped": True, "weighted": True, "squared": False}.items():
        row = call(witness, variant)
        if row is None and exists:
            raise Wrong(f"{variant}: None means that there is a bound, but some row breaks it")
        if row is None:
            continue
        try:
            length = len(row)
        except TypeError:
            length = 0
        if not 1 <= length <= 10**6:
            raise Wrong(f"{variant}: expected None, or a list of 1 to 1,000,000 scores")
        scores = numbers(row, length, f"witness({variant!r})")
        if not all(0 < score <= LARGEST for score in scores):
            raise Wrong(f"{variant}: a survivor's score must be above 0 and at most 4")
        weight = nearest_weight(scores, variant)
        if weight >= 0.01:
            raise Wrong(f"{variant}: the nearest survivor of your row keeps {weight:.3f}: too much")
