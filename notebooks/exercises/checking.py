"""What the checks of all exercises share: a wrong answer is told which property broke."""

import math
import random

import torch


class Wrong(AssertionError):
    """An answer is not right; the message says which property broke, never the answer."""

    def _render_traceback_(self):
        """What a notebook shows in place of a traceback through the check's own code."""
        return [f"Not yet: {self}"]


def fresh():
    """A new generator for random inputs, and its seed, to name in a message."""
    seed = random.SystemRandom().randrange(10**6)
    return torch.Generator().manual_seed(seed), seed


def call(function, *arguments):
    """function(*arguments) on clones of its tensors; whatever it raises becomes a Wrong."""
    clones = [given.clone() if torch.is_tensor(given) else given for given in arguments]
    try:
        answer = function(*clones)
    except NotImplementedError as error:
        raise Wrong(f"nothing is written yet ({error})") from None
    except Exception as error:  # noqa: BLE001 (whatever the student wrote)
        name = getattr(function, "__name__", "the function")
        raise Wrong(f"{name} stops with {type(error).__name__}: {error}") from None
    for given, clone in zip(arguments, clones, strict=True):
        if torch.is_tensor(given) and not torch.equal(given, clone):
            raise Wrong("an input was changed: work on a new tensor, not in place")
    return answer


def tensor(answer, shape, name="the answer"):
    """answer as it is, if it is a tensor of that shape without NaN; else Wrong."""
    if not torch.is_tensor(answer):
        raise Wrong(f"{name} is {type(answer).__name__}; expected: a tensor")
    if answer.shape != torch.Size(shape):
        raise Wrong(f"{name} has shape {tuple(answer.shape)}; expected: {tuple(shape)}")
    if answer.isnan().any():
        raise Wrong(f"{name} holds NaN")
    return answer


def number(answer, name="the answer"):
    """answer as a float, if it is one finite number; else Wrong."""
    try:
        value = float(answer)
    except (TypeError, ValueError, OverflowError):
        raise Wrong(f"{name} is {type(answer).__name__}; expected: a number") from None
    if isinstance(answer, (bool, str)) or not math.isfinite(value):
        raise Wrong(f"{name} is {answer!r}; expected: a finite number")
    return value
