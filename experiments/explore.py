"""The trained model of figures/explore.html: `python -m experiments.explore` writes its numbers.

Layer 1 is stored as tables. There a token's vector depends on the token alone, so a head has one
score for each pair of tokens, and its output is a sum of 5 vectors, one for each token of the
vocabulary. Layer 2 depends on the context, so its matrices are stored. The scales of each RMSNorm
are multiplied into the matrix that comes after it.
"""

import base64
import copy
import json
import math
import re

import numpy as np
import torch

from experiments.results import RESULTS, environment, write
from tra_mini import trained

NUMBERS = RESULTS / "explore.json"
PAGE = RESULTS.parent / "explore.html"
MARKED = re.compile(r"(<!-- model -->\n).*?(<!-- end -->)", re.DOTALL)
BITS = 14  # of a stored number; figures/explore.html knows them too
LARGEST = 2 ** (BITS - 1) - 1


def packed(matrix):
    """A matrix (rows, columns), rounded to step * whole numbers from -LARGEST to LARGEST.

    To each of these LARGEST is added. Their binary digits, joined, are written in base64.
    """
    step = matrix.abs().max().item() / LARGEST
    whole = (matrix / step).round().int() + LARGEST
    digits = "".join(f"{number:0{BITS}b}" for number in whole.flatten().tolist())
    size = math.ceil(len(digits) / 8)
    joined = int(digits.ljust(8 * size, "0"), 2).to_bytes(size)
    return {"columns": matrix.shape[1], "step": step, "base64": base64.b64encode(joined).decode()}


def rounded(numbers):
    """A tensor as nested lists, to six digits after the point."""
    return np.round(numbers.numpy(), 6).tolist()


def first_layer(block, embedding):
    """Scores (H, 5, 5) of query and key, gates (H, 5) of the query, and a table of 5 + 5 H rows.

    Its first 5 rows are what a token puts into the stream, the others what head h adds for key t,
    in row 5 + 5 h + t. Each row holds d_model numbers, then what `up` makes of them.
    """
    x = embedding.weight[None]  # (1, 5, d_model)
    attention = block.attention
    q, k, v = attention.heads(block.norm_attention(x))  # (1, H, 5, D)
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    log_forget = attention.log_forget(block.norm_attention(x))

    output = attention.output.weight.unflatten(1, (attention.n_head, -1))  # (d_model, H, D)
    added = torch.einsum("htd,mhd->htm", v[0], output)  # (H, 5, d_model)
    stream = torch.cat((x[0], added.flatten(0, 1)))  # (5 + 5 H, d_model)
    up = block.up.weight * block.norm_mlp.weight
    return scores[0], log_forget[0], torch.cat((stream, stream @ up.T), 1)


@torch.no_grad()
def numbers(model):
    """What the page needs of a TRA model with two layers, as a dict to be stored."""
    if (model.config.mechanism, model.config.n_layer) != ("tra", 2):
        raise ValueError(f"model is {model.config}; allowed: TRA with two layers")
    model = copy.deepcopy(model).double()
    first, second = model.blocks
    scores, log_forget, table = first_layer(first, model.embedding)
    before = second.norm_attention.weight
    return {
        "scores": rounded(scores),
        "log_forget": rounded(log_forget),
        "gate_bias": rounded(second.attention.gate.bias),
        "table": packed(table),
        "down1": packed(first.down.weight),
        "project": packed(second.attention.project.weight * before),
        "gate": packed(second.attention.gate.weight * before),
        "output": packed(second.attention.output.weight),
        "up2": packed(second.up.weight * second.norm_mlp.weight),
        "down2": packed(second.down.weight),
        "head": packed(model.head.weight * model.norm.weight),
    }


def store(model, path=NUMBERS):
    """Writes the numbers of a model, a line each."""
    head = {"schema": 1, "experiment": path.stem, "environment": environment()}
    head["model"] = str(model.config)
    lines = [f'"{name}": {json.dumps(value)}' for name, value in (head | numbers(model)).items()]
    text = "{" + ",\n".join(lines) + "}\n"
    write(path, lambda file: file.write(text.encode()))


def embed(page=PAGE, path=NUMBERS):
    """Puts the stored numbers into the page, between its lines <!-- model --> and <!-- end -->."""
    json_text = path.read_text(encoding="utf-8")
    script = f'<script type="application/json" id="model">\n{json_text}</script>\n'
    before = page.read_text(encoding="utf-8")
    after, count = MARKED.subn(lambda found: found[1] + script + found[2], before)
    if count != 1:
        raise ValueError(f"{page} has {count} marked places for the model; allowed: 1")
    write(page, lambda file: file.write(after.encode()))


if __name__ == "__main__":
    torch.set_num_threads(1)  # as in the notebooks, so that they share the model
    store(trained("tra", seed=0))
    embed()
    print(f"written: {NUMBERS}, and into {PAGE}")
