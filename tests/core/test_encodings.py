"""Files hold more than ASCII, and what a machine reads by default is its own affair: say utf-8."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("tra_mini", "experiments", "tools", "tests", "notebooks")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
RUNS = ("run", "Popen", "check_output")


def without_encoding(code):
    """The calls in a program that read or write text, and leave the encoding to the machine."""
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    return [ast.unparse(call) for call in calls if is_text(call) and not names_encoding(call)]


def is_text(call):
    """Whether a call opens, reads or writes text, or talks in text to another process."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)
    if name == "open" and isinstance(call.func, ast.Name):
        return not any(
            isinstance(part, ast.Constant) and "b" in part.value for part in call.args[1:2]
        )
    if name in RUNS:
        return any(keyword.arg in ("text", "universal_newlines") for keyword in call.keywords)
    return name in ("read_text", "write_text")


def names_encoding(call):
    return any(keyword.arg == "encoding" for keyword in call.keywords)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_whoever_reads_or_writes_text_names_the_encoding(path):
    assert without_encoding(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "call",
    ["path.read_text()", "open(path)", "open(path, 'w')", "subprocess.run(command, text=True)"],
)
def test_what_leaves_the_encoding_to_the_machine_is_noticed(call):
    assert without_encoding(f"text = {call}") == [call]
    named = f"{call[:-1]}, encoding='utf-8')".replace("(, ", "(")
    assert without_encoding(named) == []


@pytest.mark.parametrize(
    "call", ["open(path, 'rb')", "path.read_bytes()", "subprocess.run(command)"]
)
def test_what_is_no_text_needs_no_encoding(call):
    assert without_encoding(call) == []
