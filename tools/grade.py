"""Runs submitted notebooks against our own checks: a line for each student and exercise, as CSV.

Layout: FOLDER/STUDENT/01_*.ipynb, FOLDER/STUDENT/02_*.ipynb ...: a folder for each student, or
loose files STUDENT_01_*.ipynb. A notebook that anyone submitted is expected of everyone. Each runs
in a process of its own, in a copy of the project without solutions, with limits of time, disk and
(on Linux) memory, its checks replaced by ours. Called again, it grades what is new or unfinished.

This is no sandbox: submitted code runs with your rights, and can award itself marks. Grade people
whom you trust not to attack your computer, or grade in a virtual machine.
"""

import argparse
import csv
import hashlib
import io
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path

import nbformat
from exercises import EXERCISES, ROOT, handed_out, last_like, notebook_for, numbered
from tqdm import tqdm

from experiments.results import check_writable, write

MEMORY = 4 * 2**30  # bytes that a notebook may hold
DISK = 2**30  # bytes that it may write
IN_ALL = 10  # times the seconds of a cell, for a whole notebook
PROJECT = ["tra_mini/*.py", "experiments/*.py", "figures/results/*.json", ".cache/models/*-*.pt"]
HEADER = ["student", "exercise", "passed", "message", "notebook", "digest"]
UNFINISHED = "not finished: "  # a message that begins so is no verdict; the next call tries again
running = set()  # the processes of the notebooks that run just now


def submissions(folder, exercises=EXERCISES):
    """({(student, our notebook): [files]} of all to be graded, the files that match nothing)."""
    references = sorted(exercises.glob("*.ipynb"))
    students = {
        path.name for path in folder.iterdir() if path.is_dir() and not is_hidden(path.name)
    }
    files = {}
    unmatched = []
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder).parts
        if any(is_hidden(part) for part in place) or path.is_dir() or path.suffix == ".py":
            continue
        reference, prefix = notebook_for(path.name, references)
        student = place[0]
        if len(place) == 1:
            student = student_of_loose_file(prefix)
        if reference is None or not student:
            unmatched.append(path)
        else:
            students.add(student)
            files.setdefault((student, reference), []).append(path)

    # What anyone handed in is expected of everyone.
    jobs = {}
    for student in sorted(students):
        for reference in sorted({reference for _, reference in files}):
            jobs[student, reference] = files.get((student, reference), [])
    return jobs, unmatched


def is_hidden(name):
    """Whether this is nobody's work, such as .ipynb_checkpoints or __MACOSX."""
    return name.startswith((".", "__"))


def student_of_loose_file(prefix):
    """Whose file it is by what stands before the notebook's name; "" if that does not say it."""
    name = re.sub("copy of", "", prefix, flags=re.IGNORECASE)
    name = re.sub(r"(_\d+)_\d+_$", r"\1", name)  # Canvas numbers the student, then the file
    return name.strip(" _-")


def task_of(reference):
    """What run_submission.py is told about our notebook."""
    notebook = handed_out(nbformat.read(reference, as_version=4), solutions=False)
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return {
        "checks": {number: parts["check"].source for number, parts in numbered(notebook).items()},
        "check_module": f"check_{reference.name[:2]}",
        "known_lines": [line.strip() for source in sources for line in source.splitlines()],
    }


def grade(student, reference, files, task, seconds, table):
    """Grades a student's notebook -> its rows, {(student, exercise): row}, of all its exercises.

    table: the rows of an earlier call; they stay if they are verdicts on the same file.
    """
    outcomes = {}
    name = ""
    digest = ""
    try:
        digests = {hashlib.sha256(path.read_bytes()).hexdigest()[:8]: path for path in files}
        if not files:
            reason = f"{reference.name[:2]}_*.ipynb was not handed in"
        elif len(digests) > 1:
            reason = f"which one? {', '.join(path.name for path in files)}"
        else:
            [(digest, path)] = digests.items()
            name = path.name
            rows = {(student, number): table.get((student, number)) for number in task["checks"]}
            if all(is_verdict(row, digest) for row in rows.values()):
                return rows
            outcomes, reason = run(path.resolve(), reference.parent, task, seconds)
    except Exception as error:  # noqa: BLE001 (its trouble costs only its own rows)
        reason = f"{UNFINISHED}{type(error).__name__}: {error}"

    # A row for each exercise: its own verdict, or the reason that stands for all.
    rows = {}
    for number in task["checks"]:
        row = [student, number, *outcomes.get(number, (0, reason)), name, digest]
        rows[student, number] = [harmless(value) for value in row]
    return rows


def is_verdict(row, digest):
    """Whether a row of the table says how this very file did."""
    return row is not None and row[5] == digest and not row[3].startswith(UNFINISHED)


def run(notebook, check_folder, task, seconds):
    """What the checks say, {exercise: (passed, message)}, and why any others did not run."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        copy_project(Path(folder), check_folder)
        job = {
            **task,
            "notebook": str(notebook),
            "token": secrets.token_hex(),  # only lines that begin with it are believed
            "grader": os.getpid(),
            "folder": folder,
            "seconds": seconds,
            "seconds_in_all": IN_ALL * seconds,
            "memory": MEMORY,
            "disk": DISK,
        }
        output, reason = communicate(job)

    # Its verdicts; one without a number stands for every exercise that has none.
    outcomes = read_outcomes(output, job["token"])
    if None in outcomes:  # a reason that stands for every exercise without a verdict
        _, reason = outcomes[None]
    return outcomes, reason


def communicate(job):
    """Runs a job in a process group of its own -> its output, and why it ended early if it did."""
    folder = job["folder"]
    environment = os.environ.copy()
    environment.pop("PYTHONPATH", None)
    environment["OMP_NUM_THREADS"] = "1"
    environment["MPLBACKEND"] = "agg"
    environment["IPYTHONDIR"] = folder
    environment["TMPDIR"] = folder
    process = subprocess.Popen(
        [sys.executable, f"{folder}/run_submission.py"],
        env=environment,
        cwd=f"{folder}/notebooks/exercises",
        start_new_session=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )

    # It may end by itself, run out of time, or be stopped with us.
    running.add(process)
    try:
        output, _ = process.communicate(json.dumps(job).encode(), job["seconds_in_all"])
        reason = f"the notebook ended early (exit code {process.returncode})"
    except subprocess.TimeoutExpired as late:
        output = late.output or b""
        reason = f"the notebook was stopped after {job['seconds_in_all']} s"
    finally:
        kill(process)
        running.discard(process)
    return output, UNFINISHED + reason


def copy_project(folder, check_folder):
    """Copies into a folder what notebooks and checks need: no solutions are in it."""
    copies = {path: path.relative_to(ROOT) for name in PROJECT for path in ROOT.glob(name)}
    for path in check_folder.glob("check*.py"):
        copies[path] = Path("notebooks", "exercises", path.name)
    runner = Path(__file__).with_name("run_submission.py")
    copies[runner] = runner.name
    for path, place in copies.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / place)


def read_outcomes(output, token):
    """{exercise: (passed, message)} of a notebook's lines; a line cut by a stop is left out."""
    outcomes = {}
    for line in output.splitlines():
        with suppress(ValueError, TypeError):
            key, number, passed, message = json.loads(line)
            if key == token:
                if "No space left on device" in message:
                    message = f"{UNFINISHED}{message}"
                outcomes[number] = (int(passed), message)
    return outcomes


def kill(process):
    """Ends a notebook's process and those that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def harmless(value):
    """One line of 200 characters of UTF-8 at most, which no spreadsheet takes for a formula."""
    text = str(value).encode("utf-8", errors="backslashreplace").decode()
    text = " ".join(text.split())[:200]
    if text.startswith(("=", "+", "-", "@")):
        return f"'{text}"
    return text


def read_table(path):
    """The rows of an earlier call, {(student, exercise): row}. ValueError if it is another file."""
    if not path.exists():
        return {}
    try:
        with open(path, newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
        if header == HEADER:
            return {(row[0], row[1]): row for row in rows if len(row) == len(HEADER)}
    except (ValueError, csv.Error):
        pass
    raise ValueError(f"{path} is no table of grades; name another file, or remove it")


def write_table(path, table):
    """Writes the rows, sorted, in one step."""
    text = io.StringIO()
    csv.writer(text).writerows([HEADER, *sorted(table.values())])
    write(path, lambda file: file.write(text.getvalue().encode()))


def grade_all(folder, out, seconds, exercises=EXERCISES):
    """Grades a folder of submissions, several side by side, into the CSV -> its rows.

    The CSV grows as notebooks finish; a second call goes on.
    """
    if seconds < 1:
        raise ValueError(f"--seconds is {seconds}; allowed: 1 or more")
    if out.is_dir():
        raise ValueError(f"--out is {out}, a folder; allowed: a file")
    jobs, unmatched = submissions(folder, exercises)
    for path in unmatched:
        print(f"not graded: {path.relative_to(folder)} (whose, or which notebook?)")
    if not jobs:
        raise ValueError(f"{folder} holds no notebook of the form STUDENT/01_*.ipynb")
    check_writable(out.parent)

    # A table of other students is not overwritten.
    tasks = {reference: task_of(reference) for _, reference in jobs}
    expected = {
        (harmless(student), number)
        for student, reference in jobs
        for number in tasks[reference]["checks"]
    }
    table = read_table(out)
    for student, number in table.keys() - expected:
        raise ValueError(f"{out} holds {student}'s {number} of another folder; name another file")

    # A notebook for each core at a time; a stop ends them all.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        futures = [
            pool.submit(
                grade, harmless(student), reference, files, tasks[reference], seconds, table
            )
            for (student, reference), files in jobs.items()
        ]
        try:
            done = as_completed(futures)
            for future in tqdm(done, total=len(futures), unit="notebook", disable=None):
                table.update(future.result())
                write_table(out, table)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            while not all(future.done() for future in futures):
                for process in list(running):
                    kill(process)
                time.sleep(0.05)
    return sorted(table.values())


def discussions(folder, number, exercises=EXERCISES):
    """Everybody's answer to the discussion of an exercise, as text. ValueError if there is none."""
    answers = []
    jobs, _ = submissions(folder, exercises)
    for (student, reference), files in jobs.items():
        exercise = numbered(nbformat.read(reference, as_version=4)).get(number)
        for path in files if exercise else ():
            answers.append(f"## {student}\n{answer(path, exercise['discussion'])}\n")
    if not answers:
        raise ValueError(f"nobody handed in exercise {number!r}; allowed: a number such as 4.2")
    return "\n".join(answers)


def answer(path, question):
    """What a notebook answers in the cell that begins as our question does."""
    try:
        cell = last_like(question, nbformat.read(path, as_version=4).cells)
    except Exception as error:  # noqa: BLE001 (whatever was submitted)
        return f"{path.name} is no notebook ({type(error).__name__})"
    if cell is None:
        return f"{path.name} has no such cell"
    return cell.source


def main(arguments=None, exercises=EXERCISES):
    """The command line; every mistake ends it with one line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder")
    parser.add_argument("--out", default="grades.csv")
    parser.add_argument(
        "--seconds",
        type=int,
        default=60,
        help="for a cell (60); a notebook may take ten times that",
    )
    parser.add_argument("--discussion", metavar="N", help="print the answers to it, such as 4.2's")
    options = parser.parse_args(arguments)
    sys.stdout.reconfigure(errors="backslashreplace")  # for any file's name
    if not options.folder:
        sys.exit("grade: name the folder of submissions: make grade FOLDER=handed_in")

    # TERM and HUP stop it as Ctrl-C does, unless they are ignored (nohup).
    for name in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(name) == signal.SIG_DFL:
            signal.signal(name, signal.default_int_handler)
    try:
        folder = Path(options.folder).expanduser()
        if options.discussion is not None:
            print(discussions(folder, options.discussion, exercises))
            return
        rows = grade_all(folder, Path(options.out).expanduser(), options.seconds, exercises)
    except KeyboardInterrupt:
        sys.exit("\ngrade: stopped; the same command goes on")
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"grade: {error}")
    passed = sum(row[2] == "1" for row in rows)
    print(f"{options.out}: {passed} of {len(rows)} passed. This was no sandbox: see --help.")
    doubtful = sum(row[2] == "1" and row[3] != "" for row in rows)
    if doubtful:
        print(f"{doubtful} passed with a message: read these notebooks before you believe them.")
    unfinished = sum(row[3].startswith(UNFINISHED) for row in rows)
    if unfinished:
        print(f"{unfinished} did not finish: the same command tries them again.")


if __name__ == "__main__":
    main()
