"""python -m tra_mini [MECHANISM]: trains one model in half a minute and tests it far beyond."""

import sys

import torch

from tra_mini import accuracy_by_length, trained
from tra_mini.training import FLIP_FLOP

torch.set_num_threads(1)  # as in the notebooks, so that they share the model
model = trained(*sys.argv[1:2] or ["tra"])
print(f"{model.parameter_count():,} parameters, trained on flip-flop strings of 64 tokens")
for row in accuracy_by_length(model, FLIP_FLOP, [64, 256, 1024, 4096], n=20, seed=0):
    print(f"{row['length']:5} tokens: {row['exact_match']:.2f} of the strings without an error")
