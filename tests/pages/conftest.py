"""What the tests of pages share: a browser, and a tool that checks accessibility."""

import shutil
import subprocess
from pathlib import Path

import pytest
from browsing import BROWSER, Browser

AXE = Path(__file__).parents[2] / ".cache" / "axe"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not BROWSER:
        pytest.skip("no Chromium or Chrome on the PATH: install one to test the page")
    browser = Browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def axe():
    """The source of axe-core, which checks accessibility; fetched once, into an ignored folder."""
    source = AXE / "node_modules" / "axe-core" / "axe.min.js"
    if not source.exists():
        if not shutil.which("npm"):
            pytest.skip("npm is missing, which fetches axe-core")
        command = ["npm", "install", "--prefix", str(AXE), "--no-save", "--no-package-lock"]
        command += ["--no-audit", "--no-fund", "--ignore-scripts", "axe-core@4"]
        AXE.mkdir(parents=True, exist_ok=True)
        try:
            subprocess.run(command, check=True, capture_output=True, encoding="utf-8", timeout=120)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"axe-core could not be fetched ({type(error).__name__})")
    return source.read_text(encoding="utf-8")
