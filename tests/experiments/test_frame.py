"""The frame: environments in step, make's targets, stored results whole, figures as they say."""

import re
import shutil
import subprocess
import tomllib

import matplotlib
import pytest
import yaml
from laboratory import ROOT
from packaging.requirements import Requirement

from experiments import charts, results, stored
from experiments.grids import EXPERIMENTS
from experiments.results import RESULTS
from tra_mini import plots

DRAWN_WITH = "3.11"  # the matplotlib whose bytes the stored figures are
COMPUTED_HERE = ("headline", "paper")  # not stored with the project
CONDA_NAMES = {"pytorch-cpu": "torch", "matplotlib-base": "matplotlib"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[1].split()


def requirement(text):
    """'torch>=2.6,<2.14' or 'torch >=2.6,<2.14' -> its name and its bounds."""
    return re.fullmatch(r"([\w-]+)\s*(.*)", text).groups()


def test_conda_and_pip_ask_for_the_same_packages_within_the_same_bounds():
    """Torch has an upper bound, too, because results and trained weights depend on its version.

    The bound does not keep NVIDIA's packages away; tools/install.py tries to.
    """
    pip = dict(requirement(text) for text in PROJECT["dependencies"])
    pip["python"] = PROJECT["requires-python"]
    assert "<" in pip["torch"]

    *packages, editable = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))[
        "dependencies"
    ]
    packages.remove("pip")
    conda = dict(requirement(line) for line in packages)
    assert {CONDA_NAMES.get(name, name): bounds for name, bounds in conda.items()} == pip
    assert editable == {"pip": ["-e ."]}


def constraints():
    """{name: version} of constraints.txt, names as pip compares them."""
    comment, *lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert comment.startswith("# ")
    pairs = [re.fullmatch(r"([\w.-]+)==([\w.]+)", line).groups() for line in lines]
    versions = {re.sub(r"[_.-]+", "-", name).lower(): version for name, version in pairs}
    assert len(versions) == len(lines)
    assert lines == sorted(lines, key=lambda line: line.split("==")[0].lower())
    return versions


def test_constraints_name_a_version_within_the_bounds_of_all_that_is_required():
    """One for each package that make setup installs, so without what only teachers add."""
    versions = constraints()
    extras = PROJECT["optional-dependencies"]
    required = list(PROJECT["dependencies"])
    for extra in ("test", "cluster", "data", "slides"):
        required += extras[extra]
    required = [text for text in required if not text.startswith("tra_mini[")]
    assert len(required) >= 15
    for text in required:
        package = Requirement(text)
        assert package.specifier.contains(versions[package.name.lower()]), text
    assert "tra-mini" not in versions


def test_the_licence_is_an_spdx_expression_and_its_file_is_there():
    """The older form, a table, is refused by builds from 2027 on."""
    assert PROJECT["license"] == "MIT"
    for name in PROJECT["license-files"]:
        assert (ROOT / name).read_text(encoding="utf-8").startswith("MIT License")


def test_the_workflow_runs_what_the_readme_promises():
    """Both systems, the oldest and the newest Python; on schedule without constraints."""
    workflow = yaml.safe_load(
        (ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")
    )
    assert set(workflow[True]) == {"push", "pull_request", "schedule"}  # YAML's "on" is True
    [weekly] = workflow[True]["schedule"]
    assert re.fullmatch(r"\d+ \d+ \* \* [0-6]", weekly["cron"])

    [job] = workflow["jobs"].values()
    matrix = job["strategy"]["matrix"]
    assert job["runs-on"] == "${{ matrix.system }}"
    assert matrix["system"] == ["ubuntu-latest", "macos-latest"]
    oldest, later = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PROJECT["requires-python"]).groups()
    assert matrix["python"] == [f"3.{oldest}", f"3.{int(later) - 1}"]

    checkout, python, *commands = job["steps"]
    assert checkout["uses"].startswith("actions/checkout@")
    assert python["uses"].startswith("actions/setup-python@")
    assert python["with"] == {"python-version": "${{ matrix.python }}"}
    lines = [step["run"] for step in commands]
    assert lines == [f'make {name} CONSTRAINTS="$CONSTRAINTS"' for name in ("lint", "test")]
    choice = "${{ github.event_name != 'schedule' && 'constraints.txt' || '' }}"
    assert job["env"] == {"CONSTRAINTS": choice}


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_lines_end_in_lf_on_windows_too(tmp_path):
    """With the setting that git has there, and for every kind of text in the project."""
    (tmp_path / ".gitattributes").write_text(
        (ROOT / ".gitattributes").read_text(encoding="utf-8"), encoding="utf-8"
    )
    names = ["run", "a.py", "a.ipynb", "a.svg", "a.json", "a.md", "a.yml", "Makefile"]
    for name in names:
        (tmp_path / name).write_bytes(b"<a>\nb\n")
    (tmp_path / "a.png").write_bytes(b"PNG\r\n\x1a\n")

    def git(*arguments):
        command = ["git", "-c", "core.autocrlf=true", "-C", tmp_path, *arguments]
        subprocess.run(command, check=True, capture_output=True)

    git("init")
    git("add", ".")
    for name in [*names, "a.png"]:
        (tmp_path / name).unlink()
    git("checkout", ".")
    for name in names:
        assert (tmp_path / name).read_bytes() == b"<a>\nb\n", name
    assert (tmp_path / "a.png").read_bytes() == b"PNG\r\n\x1a\n"


def test_the_makefile_needs_no_later_make_than_that_of_macos():
    """That is GNU make 3.81, with the tools of BSD."""
    later = [r"!=", r"::=", r"&:", r"\.ONESHELL", r"\$\((file|let|intcmp) ", r"^define "]
    linux = [r"\bsed -i", r"\breadlink -f", r"\bnproc\b", r"\bgrep -P", r"\btimeout "]
    for pattern in later + linux:
        assert not re.search(pattern, MAKEFILE, re.MULTILINE), pattern


def test_make_help_lists_every_target():
    """All but the teacher's counterpart of student, which that line names."""
    command = ["make", "-C", ROOT, "help"]
    printed = subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout
    assert {"setup", "reproduce", "test", "figures", "clean"} <= set(TARGETS)
    for target in set(TARGETS) - {"source"}:
        assert re.search(rf"^  make {target}\s+\S", printed, re.MULTILINE), target
    assert "source: " in printed


def test_the_pages_name_no_target_that_is_not_there():
    for name in ("README.md", "TEACHING.md", "figures/README.md"):
        for target in re.findall(
            r"`make ([a-z][a-z-]*)", (ROOT / name).read_text(encoding="utf-8")
        ):
            assert target in TARGETS, name
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_make_names_experiments_that_are_there():
    names = re.findall(r"-m experiments reproduce(.*)", MAKEFILE)
    assert len(names) >= 2
    for name in " ".join(names).split():
        assert name in EXPERIMENTS


def test_a_missing_python_gets_a_clear_message(tmp_path):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "constraints.txt").touch()
    command = ["make", "-C", tmp_path, "setup", "PYTHON=no-such-python"]
    done = subprocess.run(command, check=False, capture_output=True, encoding="utf-8")
    assert done.returncode != 0
    assert "no-such-python was not found" in done.stdout


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name not in COMPUTED_HERE])
def test_the_stored_results_are_whole(name):
    """Every run of the grid is there, with every row that its config asks for, and no stranger."""
    runs = results.load(RESULTS / f"{name}.json")["runs"]
    assert len(runs) == len(EXPERIMENTS[name]) == len(stored(name))
    for run in runs:
        testing = run["config"]["testing"]
        cells = {(split, length) for split in testing["splits"] for length in testing["lengths"]}
        assert {(row["split"], row["length"]) for row in run["rows"]} == cells
        assert len(run["rows"]) == len(cells)
        for row in run["rows"]:
            if "bits_per_byte" in row:
                assert 0 < row["bits_per_byte"] < 20
                assert row["se"] > 0
            else:
                assert 0 <= row["low"] <= row["exact_match"] <= row["high"] + 1e-9  # rounding
                assert row["high"] <= 1
                assert 0 <= row["per_read"] <= 1


def test_no_stored_run_was_started_again():
    """Each is one training from one seed, as the present code trains it."""
    paths = list(RESULTS.glob("*.json"))
    assert len(paths) > 5
    for path in paths:
        assert not re.search(r'"start(s|ed)":', path.read_text(encoding="utf-8")), path.name


@pytest.mark.skipif(
    not matplotlib.__version__.startswith(DRAWN_WITH),
    reason=f"stored figures were drawn with matplotlib {DRAWN_WITH}; others place text otherwise",
)
def test_drawing_the_figures_again_leaves_the_stored_bytes(tmp_path):
    drawn = 0
    for file, (name, draw) in charts.FIGURES.items():
        if name in COMPUTED_HERE:
            continue
        plots.save(draw(charts.read(name)), tmp_path / file)
        assert (tmp_path / file).read_bytes() == (ROOT / "figures" / file).read_bytes(), file
        drawn += 1
    assert drawn >= 3
