"""Runs handed-in notebooks against our own checks: a line for each student and exercise, as CSV.

Layout: FOLDER/STUDENT/01_*.ipynb, FOLDER/STUDENT/02_*.ipynb ...: a folder for each student, each
notebook's number first in its name. What anyone handed in is asked of everyone. Each notebook runs
in a process of its own, with a limit of time and of memory, its checks replaced by ours.

This is no sandbox: handed-in code runs with your rights. Grade people whom you trust not to attack
your computer, or grade in a virtual machine.
"""

import argparse
import csv
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import nbformat
from exercises import EXERCISES, numbered
from tqdm import tqdm

from tra_mini.results import check_writable, write

MEMORY = 4 * 2**30  # bytes that a notebook may hold
running = set()  # the processes of the notebooks that run just now
RUN = [sys.executable, str(Path(__file__).with_name("run_submission.py"))]


def asked(folder, exercises):
    """[(student, number, files that begin with it, our notebook)] of all that is to be graded."""
    students = sorted(path for path in folder.iterdir() if path.is_dir())
    jobs = []
    for ours in sorted(exercises.glob("*.ipynb")):
        found = {path.name: sorted(path.glob(f"{ours.name[:2]}*.ipynb")) for path in students}
        if any(found.values()):
            jobs += [(student, files, ours) for student, files in found.items()]
    return jobs


def grade(job, seconds):
    """Runs one student's notebook -> [(student, exercise, passed, message)], all its exercises."""
    student, files, ours = job
    exercises = numbered(nbformat.read(ours, as_version=4))
    checks = {number: parts["check"].source for number, parts in exercises.items()}
    results, ended = {}, f"{ours.name[:2]}_*.ipynb was not handed in"
    if len(files) > 1:
        ended = f"which one? {', '.join(path.name for path in files)}"
    elif files:
        results, ended = outcome(files[0].resolve(), checks, ours.parent, seconds)
    return [(student, number, *results.get(number, (0, ended))) for number in checks]


def outcome(submitted, checks, modules, seconds):
    """What the checks found, {exercise: (passed, message)}, and why any others did not run."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        results, ours = Path(folder, "results"), Path(folder, "checks")
        ours.write_text(json.dumps(checks), encoding="utf-8")
        settings = {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", "IPYTHONDIR": folder}
        settings["PYTHONPATH"] = str(EXERCISES.parents[1])  # the package that the checks belong to
        silent = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        process = subprocess.Popen(
            [*RUN, submitted, ours, modules, results, str(MEMORY)],
            env=os.environ | settings,
            cwd=folder,
            start_new_session=True,
            **silent,
        )
        running.add(process)
        try:
            ended = f"not reached: the notebook ended early (exit code {process.wait(seconds)})"
        except subprocess.TimeoutExpired:
            ended = f"not reached: the notebook was stopped after {seconds} s"
        finally:
            kill(process)
            running.discard(process)
        found = written(results)
    return found, found.get(None, (0, ended))[1]


def written(results):
    """{exercise: (passed, message)} of a file of results; a line cut by a stop is left out."""
    found = {}
    for line in results.read_text(errors="replace").splitlines() if results.exists() else []:
        try:
            number, passed, message = json.loads(line)
            found[number] = int(passed), message
        except (ValueError, TypeError):
            continue
    return found


def kill(process):
    """Ends a notebook's process and those that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def harmless(text):
    """One line of 200 characters at most, which no spreadsheet takes for a formula."""
    text = " ".join(str(text).split())[:200]
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def grade_all(folder, out, seconds, exercises=EXERCISES):
    """Grades a folder of submissions, several side by side, and writes the CSV -> its rows."""
    jobs = asked(folder, exercises)
    if not jobs:
        raise ValueError(f"{folder} holds no notebook of the form STUDENT/01_*.ipynb")
    check_writable(out.parent)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        done = pool.map(lambda job: grade(job, seconds), jobs)
        done = tqdm(done, total=len(jobs), unit="notebook", disable=None)
        try:
            rows = [[harmless(value) for value in row] for rows in done for row in rows]
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(running):
                kill(process)
            raise KeyboardInterrupt("stopped; nothing was written") from None
    table = io.StringIO()
    csv.writer(table).writerows([["student", "exercise", "passed", "message"], *sorted(rows)])
    write(out, table.getvalue())
    return rows


def main(arguments=None):
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default="grades.csv")
    parser.add_argument("--seconds", type=int, default=120, help="for one notebook (120)")
    given = parser.parse_args(arguments)
    try:
        rows = grade_all(given.folder, given.out, given.seconds)
    except (ValueError, OSError, KeyboardInterrupt) as error:
        sys.exit(f"grade: {error}")
    passed = sum(row[2] == "1" for row in rows)
    print(f"{given.out}: {passed} of {len(rows)} passed. This was no sandbox: see --help.")


if __name__ == "__main__":
    main()
