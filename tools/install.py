"""Installs the project into the environment of the Python that runs this; `make setup` calls it.

On Linux, PyPI's torch brings 15 NVIDIA packages, a download of about 3 GB. PyTorch's own index has
a build without them. Without NVIDIA's driver, this script tries that index first.
"""

import argparse
import platform
import shutil
import subprocess
import sys
import tomllib
import urllib.request
from http.client import HTTPException
from pathlib import Path
from threading import Thread

ROOT = Path(__file__).resolve().parents[1]


def requirement():
    """What pyproject.toml says of torch, such as "torch>=2.7"."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    [torch] = [text for text in project["dependencies"] if text.startswith("torch")]
    return torch


def pip_install(*arguments, **options):
    """Whether `pip install` succeeds."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", *arguments]
    return subprocess.run(command, cwd=ROOT, check=False, **options).returncode == 0


def answers(index, seconds=5):
    """Whether a package index answers within so many seconds. It is asked once.

    A thread asks, because urlopen's own time-out does not cover looking up a name.
    """
    answered = []

    def ask():
        try:
            urllib.request.urlopen(f"{index}/torch/", timeout=seconds).close()
            answered.append(True)
        except (OSError, HTTPException, ValueError):  # no network, no index, no address
            pass

    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(answered)


def try_cpu_torch(index, torch):
    """Installs torch's build for processors if there is a way to it."""
    # It may be installed already, or lie in a folder of wheels (PIP_FIND_LINKS).
    if pip_install("--no-index", *torch, stderr=subprocess.DEVNULL):
        return

    if not answers(index) or not pip_install("--index-url", index, *torch):
        print(
            f"{index} gave no torch, so it comes from the plain index: with NVIDIA's packages about"
            " 3 GB (make setup TORCH=cpu insists on the small one)",
            flush=True,
        )


def main():
    """Torch first, then the project with everything that its tests need."""
    command = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    command.add_argument("torch", choices=("auto", "cpu", "default"))
    command.add_argument("index", help="the address of PyTorch's index of builds for processors")
    command.add_argument("constraints", nargs="?", help="a file of the versions to install")
    options = command.parse_args()

    pins = []
    if options.constraints:
        pins = ["--constraint", options.constraints]
    torch = ["--no-deps", *pins, requirement()]

    if options.torch == "cpu" and not pip_install("--index-url", options.index, *torch):
        sys.exit(f"{options.index} gave no torch; make setup TORCH=default does without it")
    without_nvidia = platform.system() == "Linux" and shutil.which("nvidia-smi") is None
    if options.torch == "auto" and without_nvidia:
        try_cpu_torch(options.index, torch)

    if not pip_install(*pins, "--editable", ".[test]"):
        sys.exit("the project could not be installed; pip's messages above say why")


if __name__ == "__main__":
    main()
