"""Checks of the exercises that follow notebook 04; each raises Wrong, or returns silently."""

import math

import torch
from checking import Wrong, call, fresh, tensor

TEXT = "w1w0i1r0"
LARGEST = 4.0  # the largest score of a head of width 16
FORGET = math.log(0.5)


def table_scores():
    """S of TEXT, as rows of j <= i: its vectors are those of notebook 04."""
    root = math.sqrt(2)
    rows = []
    for i, letter in enumerate(TEXT):
        query = (root, 0) if letter in "01" else (0, root)
        rows.append([])
        for j in range(i + 1):
            written = TEXT[j] in "01" and TEXT[j - 1] == "w"
            key = {"w": (root, 0), "i": (1, -1), "r": (1, -1)}.get(TEXT[j], (-1, -1))
            key = (0, root) if written else key
            rows[i].append((query[0] * key[0] + query[1] * key[1]) / root)
    return rows


def exercise_4_1(drawing):
    """A text drawn by hand: who survives, and at which distance."""
    scores = table_scores()
    rows = call(drawing)
    if not isinstance(rows, list | tuple) or not all(isinstance(row, str) for row in rows):
        raise Wrong("drawing() must return a list of texts, one for each row")
    if len(rows) != len(TEXT):
        raise Wrong(f"the drawing has {len(rows)} rows; expected: {len(TEXT)}, one for each query")
    for i, (row, S) in enumerate(zip(rows, scores, strict=True)):
        where = f"row {i} ({TEXT[i]!r})"
        if len(row) != i + 1:
            raise Wrong(
                f"{where} has {len(row)} characters; a query sees keys 0 to {i}, itself too"
            )
        if not all(character == "." or character.isdecimal() for character in row):
            raise Wrong(f"{where} is {row!r}; allowed: dots and digits")
        for j, score in enumerate(S):
            if row[j] != "." and score == 0:
                raise Wrong(f"{where}: key {j} has a score of exactly 0, and 0 is not above 0")
            if (row[j] != ".") != (score > 0):
                done = "removed" if row[j] == "." else "kept"
                raise Wrong(f"{where}: key {j} was {done}; look at the sign of its score again")
        kept = [int(character) for character in row if character != "."]
        if kept and kept[-1] != 1:
            raise Wrong(f"{where}: its nearest survivor is counted as {kept[-1]}; c counts itself")
        if kept != sorted(kept, reverse=True) or len(set(kept)) != len(kept):
            raise Wrong(f"{where}: distances must grow from the query backwards")
        if kept != list(range(len(kept), 0, -1)):
            raise Wrong(f"{where}: its survivors are right; count survivors only, not tokens")


def survivors_by_loop(scores, log_forget, threshold):
    """TRA's weights (H, T, T), a threshold a head, from the formula; a list of tensors inside."""
    H, T = log_forget.shape
    weights = [[[scores.new_zeros(())] * T for _ in range(T)] for _ in range(H)]
    for h in range(H):
        for i in range(T):
            kept = [j for j in range(i + 1) if scores[h, i, j] > threshold[h]]
            logits = {
                j: scores[h, i, j] + log_forget[h, i] * sum(key >= j for key in kept) for j in kept
            }
            top = max((logit.item() for logit in logits.values()), default=0)
            total = sum((logit - top).exp() for logit in logits.values())
            for j in kept:
                weights[h][i][j] = (logits[j] - top).exp() / total
    return torch.stack([torch.stack([torch.stack(row) for row in head]) for head in weights])


def threshold_inputs(generator):
    """Scores (H, T, T) with a dead row a head and a key at the threshold, gates, thresholds."""
    H, T = 3, 8
    scores = 1.5 * torch.randn(H, T, T, generator=generator, dtype=torch.float64)
    scores += torch.full((T, T), 5.0).triu(1)  # tempting: what comes later scores high
    threshold = torch.tensor([-0.5, 0.0, 0.75], dtype=torch.float64)
    threshold = threshold[torch.randperm(H, generator=generator)]
    for h in range(H):
        dead, level = (torch.randperm(T - 2, generator=generator)[:2] + 1).tolist()
        scores[h, dead, : dead + 1] = threshold[h] - 0.1 - scores[h, dead, : dead + 1].abs()
        scores[h, level, 0] = threshold[h]
        scores[h, level, level] = threshold[h] + 1
    log_forget = -2 * torch.rand(H, T, generator=generator, dtype=torch.float64) - 0.1
    log_forget[:, -1] = -3000.0  # strict: exp of such a logit is 0
    scores[:, -1, -1] = threshold + 0.5
    return scores, log_forget, threshold


def exercise_4_2(weights):
    """Causality, the threshold itself, dead rows, sums, distances, then gradients."""
    generator, seed = fresh()
    scores, log_forget, threshold = threshold_inputs(generator)
    keep = torch.stack([(S > t).tril() for S, t in zip(scores, threshold, strict=True)])
    open_gates = torch.zeros_like(log_forget)
    expected = survivors_by_loop(scores, log_forget, threshold)
    ungated = survivors_by_loop(scores, open_gates, threshold)
    told = call(weights, scores, log_forget, threshold)
    dead = ~keep.any(-1)
    if torch.is_tensor(told) and told.shape == scores.shape and told.isnan().any():
        rows = "a row without survivors" if told.isnan().any(-1)[dead].any() else "a row"
        raise Wrong(f"{rows} holds NaN (seed {seed})")
    ours = tensor(told, scores.shape, "weights(...)").double()
    if ours.triu(1)[~dead].any():
        raise Wrong(f"causality: a query gives weight to a later key (seed {seed})")
    if ours[dead].any():
        raise Wrong(f"a row without survivors must be silent: all zeros (seed {seed})")
    check_removal(ours, keep, scores, threshold, seed)
    if not torch.allclose(ours.sum(-1)[~dead], torch.ones(1, dtype=torch.float64), atol=1e-5):
        raise Wrong(f"a row with survivors must add up to 1, however strict its gate (seed {seed})")
    free = tensor(call(weights, scores, open_gates, threshold), scores.shape).double()
    if not torch.allclose(free, ungated, atol=1e-5):
        raise Wrong(f"with open gates (log_forget 0) the weights of survivors differ (seed {seed})")
    if not torch.allclose(ours, expected, atol=1e-5):
        raise Wrong(
            "right with open gates, wrong with closed ones: whose gate does a row use, and what"
            f" does its distance count? (seed {seed})"
        )
    check_gradients(weights, scores, log_forget, threshold, generator, seed)


def check_removal(ours, keep, scores, threshold, seed):
    """No weight for a key that is not above its head's threshold, nor for one just at it."""
    level = (scores == threshold[:, None, None]).tril()
    if ours[~keep & ~level].any():
        h, i, j = ((ours != 0) & ~keep & ~level).nonzero()[0].tolist()
        raise Wrong(
            f"head {h}, row {i}: key {j} scores {scores[h, i, j]:.2f}, the head's threshold is"
            f" {threshold[h]:g}, and its weight is {ours[h, i, j]:.3g}, not 0 (seed {seed})"
        )
    if ours[level].any():
        raise Wrong(f"a key exactly at the threshold survives; it is not above it (seed {seed})")


def gradients(function, pull, leaves, others):
    """Of the sum of function(*leaves, *others) * pull, for each leaf; else Wrong."""
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    output = call(function, *leaves, *others)
    if not output.requires_grad:
        raise Wrong("no gradient flows back: stay with tensor operations, detach nothing")
    try:
        (output * pull).sum().backward()
    except RuntimeError as error:
        raise Wrong(f"the gradient cannot be computed: {str(error)[:120]}") from None
    return [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]


def check_gradients(weights, scores, log_forget, threshold, generator, seed):
    """Gradients as the loop has them: none of them NaN, dead rows or not."""
    pull = torch.randn(scores.shape, generator=generator, dtype=torch.float64)
    leaves = scores, log_forget.clamp(-2)
    right = gradients(survivors_by_loop, pull, leaves, [threshold])
    given = gradients(weights, pull, leaves, [threshold])
    for name, ours, theirs in zip(("scores", "log_forget"), given, right, strict=True):
        if ours.isnan().any():
            raise Wrong(f"the weights are clean, the gradient of {name} is NaN (seed {seed})")
        if not torch.allclose(ours, theirs, atol=1e-5):
            raise Wrong(f"the weights are right, the gradient of {name} is not (seed {seed})")


def distance_by_loop(scores, keep, cap):
    """min(cap, sum of the surviving scores from j to i), as a list of tensors."""
    B, H, T, _ = scores.shape
    distance = [scores.new_zeros(())] * (B * H * T * T)
    for place in keep.flatten().nonzero().flatten().tolist():
        b, rest = divmod(place, H * T * T)
        h, rest = divmod(rest, T * T)
        i, j = divmod(rest, T)
        total = sum(scores[b, h, i, key] for key in range(j, i + 1) if keep[b, h, i, key])
        distance[place] = total if total.item() < cap else scores.new_full((), cap)
    return torch.stack(distance).view_as(scores)


def exercise_4_3(weighted_distance):
    """Distances at survivors without a cap, then with one, then their gradients."""
    generator, seed = fresh()
    scores = torch.randn(2, 3, 9, 9, generator=generator, dtype=torch.float64)
    keep = (scores > 0).tril()
    for cap in (math.inf, 2.5):
        expected = distance_by_loop(scores, keep, cap)
        ours = tensor(call(weighted_distance, scores, keep, cap), scores.shape, "the distance")
        wrong = keep & ~torch.isclose(ours.double(), expected, atol=1e-5)
        if wrong.any():
            b, h, i, j = wrong.nonzero()[0].tolist()
            row = scores[b, h, i], keep[b, h, i], j, ours[b, h, i, j].item()
            raise Wrong(about_distance(*row, cap) + f" (seed {seed})")
    pull = keep * torch.randn(scores.shape, generator=generator, dtype=torch.float64)
    right = gradients(distance_by_loop, pull, [scores], [keep, 2.5])
    given = gradients(weighted_distance, pull, [scores], [keep, 2.5])
    if not torch.allclose(*right, *given, atol=1e-5):
        raise Wrong(f"the distances are right, their gradient is not (seed {seed})")


def about_distance(scores, keep, j, given, cap):
    """A row whose distances are wrong, as small as it can be told."""
    alive = ", ".join(f"{scores[key]:.2f}" for key in keep.nonzero().flatten().flip(0).tolist())
    told = f"a row whose survivors score {alive} (from the query back) is told that number"
    told += f" {int(keep[j:].sum())} of them is at distance {given:.2f}"
    return (
        f"without a cap: {told}" if cap == math.inf else f"right without a cap; with {cap}: {told}"
    )


def nearest_weight(scores, variant):
    """Weight of the nearest survivor; scores nearest first, f = 1/2; float64 throughout."""
    logits, counted, so_far = [], 0, 0.0
    for score in scores:
        counted, so_far = counted + 1, so_far + score
        distance = {"capped": min(counted, 8), "weighted": so_far, "squared": counted**2}[variant]
        logits.append(score + FORGET * distance)
    return 1 / math.fsum(math.exp(min(700, logit - logits[0])) for logit in logits)


def exercise_4_4(witness):
    """Each witness is weighed; where there is none, none may be claimed."""
    for variant, exists in {"capped": True, "weighted": True, "squared": False}.items():
        row = call(witness, variant)
        if torch.is_tensor(row):
            row = row.double().tolist()
        if row is None and exists:
            raise Wrong(f"{variant}: None claims a bound, but there is a row that breaks it")
        if row is None:
            continue
        if not isinstance(row, list | tuple) or not 1 <= len(row) <= 10**6:
            raise Wrong(f"{variant}: expected None, or a list of 1 to 1,000,000 scores")
        try:
            row = [float(score) for score in row]
        except (TypeError, ValueError):
            raise Wrong(f"{variant}: the list must hold numbers") from None
        if not all(0 < score <= LARGEST for score in row):
            raise Wrong(f"{variant}: a survivor's score is above 0 and at most 4; yours leave that")
        found = nearest_weight(row, variant)
        if found >= 0.01:
            raise Wrong(f"{variant}: the nearest survivor of your row keeps {found:.3f}; too much")
