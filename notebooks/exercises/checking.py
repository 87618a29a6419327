"""What the checks of all exercises share; a wrong answer gets a message that says why."""

import functools
import math
import random
import sys
from contextlib import suppress

import torch

PASSED = []  # the functions that passed their check


class Wrong(AssertionError):
    """An answer is wrong; the message says which property it breaks, never the solution."""

    def _render_traceback_(self):
        """What a notebook shows instead of a traceback through the check's own code."""
        return [f"Not yet: {self}"]


def check(exercise):
    """Decorates the check of an exercise, so that a function that passes it is remembered."""

    @functools.wraps(exercise)
    def remembering(function):
        exercise(function)
        PASSED.append(function)

    return remembering


def first_pass(function):
    """Ends the cell of a figure, in one line, if this function has not passed its check."""
    if function not in PASSED:
        raise Wrong(f"first pass the check of {name_of(function)}")


def name_of(function):
    return getattr(function, "__name__", "the function")


def fresh():
    """A new generator for random inputs, and its seed, which messages name."""
    seed = random.SystemRandom().randrange(10**6)
    return torch.Generator().manual_seed(seed), seed


def copied(argument):
    """A copy of a tensor or of a list; anything else as it is."""
    if torch.is_tensor(argument):
        return argument.clone()
    if isinstance(argument, list):
        return list(argument)
    return argument


def equal(argument, copy):
    """Whether a function left its copy of an argument as it was."""
    if torch.is_tensor(argument):
        return torch.equal(argument, copy)
    return argument == copy


def call(function, *arguments):
    """function(*arguments) on copies; whatever it raises becomes a Wrong."""
    copies = [copied(argument) for argument in arguments]
    try:
        answer = function(*copies)
    except Exception as error:  # noqa: BLE001 (whatever the student wrote)
        if isinstance(error, NotImplementedError) and str(error).startswith("exercise"):
            raise Wrong(f"nothing is written yet ({error})") from None
        reason = f"{type(error).__name__}: {str(error)[:200]}"
        raise Wrong(f"{name_of(function)} stops with {reason}") from None
    for argument, copy in zip(arguments, copies, strict=True):
        if not equal(argument, copy):
            raise Wrong("an input was changed: work on a copy, not in place")
    return answer


def lines_run(function, *arguments):
    """How many lines of Python a call runs, including those of all functions that it calls.

    A loop runs its lines for each element, an operation on a whole tensor does not. The count
    tells them apart on every machine; a time would not.
    """
    lines = 0

    def count(frame, event, argument):
        nonlocal lines
        lines += 1
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        call(function, *arguments)
    finally:
        sys.settrace(before)
    return lines


def number(answer, name="the answer"):
    """answer as a float, if it is one finite number (Python's, NumPy's or a tensor's)."""
    try:
        value = float(answer)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        raise Wrong(f"{name} is {type(answer).__name__}; expected: a number") from None
    if isinstance(answer, (bool, str)) or not math.isfinite(value):
        raise Wrong(f"{name} is {answer!r}; expected: a finite number")
    return value


def whole(answer, name="the answer"):
    """answer as an int, if it is a whole number of any type; else Wrong."""
    value = number(answer, name)
    if value != round(value):
        raise Wrong(f"{name} is {value:.3f}; expected: a whole number")
    return round(value)


def numbers(answer, count, name="the answer"):
    """answer as a list of this many floats, if it is a tuple, list, array or tensor of them."""
    try:
        values = list(answer)
    except TypeError:
        raise Wrong(f"{name} is {type(answer).__name__}; expected: {count} numbers") from None
    if len(values) != count:
        raise Wrong(f"{name} holds {len(values)} values; expected: {count} numbers")
    return [number(value, f"a number of {name}") for value in values]


def boolean(answer, name="the answer"):
    """answer as a bool, if it is one (Python's, NumPy's or a tensor's); else Wrong."""
    value = answer
    with suppress(AttributeError, ValueError, RuntimeError):
        value = answer.item()  # of NumPy and of torch
    if not isinstance(value, bool):
        raise Wrong(f"{name} is of type {type(answer).__name__}; expected: True or False")
    return value


def shaped(answer, shape, name="the answer"):
    """answer as it is, if it is a tensor of that shape, of real numbers or NaN; else Wrong."""
    if not torch.is_tensor(answer):
        raise Wrong(f"{name} is {type(answer).__name__}; expected: a tensor")
    if answer.shape != torch.Size(shape):
        raise Wrong(f"{name} has shape {tuple(answer.shape)}; expected: {tuple(shape)}")
    if answer.is_complex():
        raise Wrong(f"{name} holds complex numbers; expected: real ones")
    return answer


def tensor(answer, shape, name="the answer"):
    """answer as it is, if it is a tensor of that shape, of real numbers; else Wrong."""
    if shaped(answer, shape, name).isnan().any():
        raise Wrong(f"{name} holds NaN")
    return answer


def gradients(output, pull, leaves):
    """Gradients for the leaves of the sum of output * pull over the places where pull is not 0."""
    if not output.requires_grad:
        raise Wrong("no gradient flows back: stay with tensor operations, detach nothing")
    total = (output * pull)[pull != 0].sum()
    try:
        return torch.autograd.grad(total, leaves, materialize_grads=True)
    except RuntimeError as error:
        raise Wrong(f"the gradient cannot be computed: {str(error)[:120]}") from None
