"""Writes constraints.txt, the versions that `make setup` installs; `make lock` calls it.

They are the newest that pyproject.toml allows and that have wheels for the first Python 3.11, so
later Pythons find them, too. Test them before you keep the file.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OLDEST = "3.11.0"
HEAD = "# What make setup installs: the versions that were tested. make lock rewrites this file.\n"


def newest():
    """{name: version} of all that pip would install for the project and its tests."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run"]
        command += ["--ignore-installed", "--target", folder, "--report", f"{folder}/report.json"]
        command += ["--python-version", OLDEST, "--only-binary", ":all:", ".[test]"]
        if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
            sys.exit("no versions fit together; pip's messages above say why")
        report = json.loads(Path(folder, "report.json").read_text(encoding="utf-8"))
    packages = [package["metadata"] for package in report["install"]]
    return {package["name"]: package["version"] for package in packages}


def main():
    """Leaves out the project itself, and the builds of a version (torch's +cpu)."""
    versions = newest()
    del versions["tra_mini"]
    lines = [HEAD]
    for name in sorted(versions, key=str.lower):
        lines.append(f"{name}=={versions[name].split('+')[0]}\n")
    (ROOT / "constraints.txt").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
