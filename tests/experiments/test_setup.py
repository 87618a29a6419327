"""make setup: which torch, in which version, and anew in a folder that was moved or copied."""

import inspect
import os
import platform
import shutil
import socket
import subprocess
import sys
import threading
import time
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from laboratory import ROOT

sys.path.insert(0, str(ROOT / "tools"))

import install

# A project that needs nothing but torch, and builds without setuptools
PROJECT = """
[build-system]
requires = []
build-backend = "build"
backend-path = ["."]

[project]
name = "tra_mini"
dependencies = [
    "torch>=2.7,<2.14",
]
"""
BUILD = '''
def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """Imports find the folder in which this runs."""
    paths = {"tra_mini.pth": f"{Path.cwd()}\\n"}
    needs = ("torch>=2.7,<2.14",)
    return wheel(Path(wheel_directory), "tra_mini", "0.1", needs, paths)
'''
# Whether this machine is one on which PyTorch's own index is asked first
ASKED = platform.system() == "Linux" and shutil.which("nvidia-smi") is None
SMALL = "2.12.0"
if ASKED:
    SMALL = "2.12.0+cpu"
SAID = "gave no torch, so it comes from the plain index: with NVIDIA's packages about 3 GB"


def wheel(folder, name, version, needs=(), files=None):
    """Writes a wheel with hardly anything in it -> its file name."""
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nProvides-Extra: test\n"
    for requirement in needs:
        metadata += f"Requires-Dist: {requirement}\n"
    contents = {
        "METADATA": metadata,
        "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    file_name = f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(folder / file_name, "w") as file:
        for path, text in contents.items():
            file.writestr(f"{name}-{version}.dist-info/{path}", text)
        for path, text in (files or {}).items():
            file.writestr(path, text)
    return file_name


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        """Nothing."""


@pytest.fixture(scope="module")
def indexes(tmp_path_factory):
    """The address of a server of two indexes: /cpu as PyTorch's, /plain as PyPI's."""
    folder = tmp_path_factory.mktemp("indexes")
    torches = {"cpu": ("2.12.0+cpu", "2.13.0+cpu"), "plain": ("2.12.0", "2.13.0")}
    for index, versions in torches.items():
        (folder / index / "torch").mkdir(parents=True)
        for version in versions:
            wheel(folder / index / "torch", "torch", version)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def silent():
    """An address that accepts connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def closed():
    """An address where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    return f"http://127.0.0.1:{port}"


@pytest.fixture
def project(tmp_path):
    """A folder whose path has a space and an umlaut, with our Makefile and a tiny project."""
    folder = tmp_path / "Übung 1"
    (folder / "tools").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    shutil.copy(ROOT / "tools" / "install.py", folder / "tools")
    (folder / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
    imports = "import zipfile\nfrom pathlib import Path\n\n"
    (folder / "build.py").write_text(imports + inspect.getsource(wheel) + BUILD, encoding="utf-8")
    (folder / "constraints.txt").write_text("torch==2.12.0\n", encoding="utf-8")
    (folder / "tra_mini.py").write_text("", encoding="utf-8")
    return folder


def make(folder, indexes, *arguments):
    """make setup, where the plain index is a local one and this machine's own settings are not."""
    ours = ("PIP_", "MAKE", "TORCH", "CONSTRAINTS", "PYTHON")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    environment["PIP_CONFIG_FILE"] = os.devnull
    environment["PIP_INDEX_URL"] = f"{indexes}/plain"
    environment["NO_PROXY"] = environment["no_proxy"] = "127.0.0.1"
    command = ["make", "-C", folder, "setup", f"PYTHON={sys.executable}", *arguments]
    return subprocess.run(
        command, check=False, capture_output=True, encoding="utf-8", env=environment
    )


def installed(folder):
    """The version of torch in the folder's .venv, and the folder of the tra_mini that it finds."""
    code = "import importlib.metadata as m, tra_mini; print(m.version('torch'), tra_mini.__file__)"
    command = [folder / ".venv" / "bin" / "python", "-c", code]
    printed = subprocess.run(
        command, cwd="/", check=True, capture_output=True, encoding="utf-8"
    ).stdout
    version, file = printed.strip().split(" ", 1)
    return version, Path(file).parent


def test_set_up_here_in_a_copy_and_with_another_torch(project, indexes, silent, tmp_path):
    """Each time .venv is made anew, and nothing is done a second time."""
    # An index that says nothing costs seconds and a line.
    done = make(project, indexes, f"TORCH_INDEX={silent}")
    assert done.returncode == 0, done.stderr
    assert (f"{silent} {SAID}" in done.stdout) == ASKED
    assert installed(project) == ("2.12.0", project)

    # In a copy, .venv still leads to the first folder until it is set up again.
    copied = tmp_path / "Kopie 2"
    shutil.copytree(project, copied, symlinks=True)
    assert installed(copied) == ("2.12.0", project)
    done = make(copied, indexes, f"TORCH_INDEX={indexes}/cpu")
    assert done.returncode == 0, done.stderr
    assert SAID not in done.stdout
    assert installed(copied) == (SMALL, copied)
    assert str(project) not in (copied / ".venv" / "bin" / "pip").read_text(encoding="utf-8")
    assert "Nothing to be done" in make(copied, indexes).stdout
    assert "Nothing to be done" in make(project, indexes).stdout

    # Whoever chooses another torch gets it, here the newest one; later calls keep the choice.
    done = make(copied, indexes, "TORCH=cpu", f"TORCH_INDEX={indexes}/cpu", "CONSTRAINTS=")
    assert done.returncode == 0, done.stderr
    assert installed(copied) == ("2.13.0+cpu", copied)
    assert "Nothing to be done" in make(copied, indexes).stdout

    # A choice that there is not changes nothing.
    done = make(copied, indexes, "TORCH=gpu")
    assert done.returncode != 0
    assert "TORCH is gpu; allowed: cpu, default" in done.stderr
    assert installed(copied) == ("2.13.0+cpu", copied)


@pytest.mark.parametrize("end", ["/cpu", "/plain"])
def test_an_index_answers(indexes, end, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert install.answers(indexes + end)


@pytest.mark.filterwarnings("error")  # nothing is printed about it
@pytest.mark.parametrize("index", ["no address", "http://name.invalid", "file:///no/such/folder"])
def test_what_is_no_index_does_not_answer(index):
    assert not install.answers(index)


def test_an_index_without_torch_or_without_a_server_does_not_answer(indexes, closed):
    assert not install.answers(f"{indexes}/neither")
    assert not install.answers(closed)


def test_silence_is_no_answer(silent, monkeypatch):
    """In bounded time, although the look-up of a name, as here, heeds no time-out."""
    enough = threading.Event()

    def getaddrinfo(*arguments):
        enough.wait(60)
        raise OSError("no such name")

    started = time.monotonic()
    assert not install.answers(silent, seconds=0.2)
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert not install.answers("http://slow.invalid", seconds=0.2)
    assert time.monotonic() - started < 30
    enough.set()


@pytest.mark.parametrize(
    ("system", "driver", "choice", "asked"),
    [
        ("Linux", None, "auto", True),
        ("Linux", None, "default", False),
        ("Linux", "/usr/bin/nvidia-smi", "auto", False),
        ("Linux", "/usr/bin/nvidia-smi", "cpu", True),
        ("Darwin", None, "auto", False),
        ("Darwin", None, "cpu", True),
    ],
)
def test_who_asks_the_index_of_small_builds(monkeypatch, capsys, system, driver, choice, asked):
    """Linux without a driver, and who chooses it: on macOS, PyPI's builds are small."""
    calls = []

    def pip_install(*arguments, **options):
        calls.append(arguments)
        return "--no-index" not in arguments  # torch is not here yet

    monkeypatch.setattr(install, "pip_install", pip_install)
    monkeypatch.setattr(install, "answers", lambda index: True)
    monkeypatch.setattr(install.platform, "system", lambda: system)
    monkeypatch.setattr(install.shutil, "which", lambda name: driver)
    monkeypatch.setattr(sys, "argv", ["install.py", choice, "http://index", "versions.txt"])
    install.main()
    pins = ("--constraint", "versions.txt")
    small = ("--index-url", "http://index", "--no-deps", *pins, install.requirement())
    assert (small in calls) == asked
    assert calls[-1] == (*pins, "--editable", ".[test]")
    assert capsys.readouterr().out == ""


def test_a_small_torch_that_is_insisted_on_and_not_to_be_had(monkeypatch):
    """Nothing else is installed in its place."""
    calls = []

    def pip_install(*arguments):
        calls.append(arguments)
        return False

    monkeypatch.setattr(install, "pip_install", pip_install)
    monkeypatch.setattr(sys, "argv", ["install.py", "cpu", "http://index"])
    with pytest.raises(SystemExit, match="^http://index gave no torch; make setup TORCH=default"):
        install.main()
    assert calls == [("--index-url", "http://index", "--no-deps", install.requirement())]


def test_torch_that_is_here_already_needs_no_index(monkeypatch):
    monkeypatch.setattr(install, "pip_install", lambda *arguments, **options: True)
    monkeypatch.setattr(install, "answers", lambda index: pytest.fail("the index was asked"))
    install.try_cpu_torch("http://index", ["torch"])


def test_make_clean_removes_what_a_kill_left_half_written(tmp_path):
    """And nothing else beside it."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    kept = [tmp_path / "README.md", tmp_path / "notebooks" / "a.ipynb"]
    kept.append(tmp_path / "figures" / "results" / "b.json")
    for path in kept:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        path.with_name(f"{path.name}.123.part").touch()
    subprocess.run(["make", "clean"], cwd=tmp_path, check=True, capture_output=True)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(
        [*kept, tmp_path / "Makefile"]
    )
