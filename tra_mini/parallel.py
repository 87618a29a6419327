"""Independent jobs side by side, a process for each core, with one progress bar over all."""

import multiprocessing
import os
import signal
import threading
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait

import torch
from tqdm import tqdm

BAR = "{percentage:3.0f} % |{bar}| {elapsed} gone, about {remaining} left"
MEMORY = {  # glibc keeps what a worker frees: fetching pages anew took half of the time
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**31),
}
progress = None  # of a worker process: the work that all workers have done so far


def advance(work):
    """Called by a job: tells the process that shows the bar that so much more work is done."""
    if progress is not None:
        with progress.get_lock():
            progress.value += work


def start_worker(shared_progress, threads):
    """Prepares a worker: its torch threads, and its end should the parent die."""
    global progress
    progress = shared_progress
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends the workers
    torch.set_num_threads(threads)
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def run_all(function, jobs, on_result, *, work, threads):
    """Calls on_result(function(job)) for every job as it finishes; work is what the bar counts to.

    Several processes of few torch threads beat one process of many on models this small.
    Returns the exceptions of the jobs that failed; the others go on. Ctrl-C ends all workers.
    """
    os.environ.update(MEMORY)  # read by the workers as they start; this process stays as it is
    context = multiprocessing.get_context("spawn")
    shared_progress = context.Value("d", 0.0)
    pool = ProcessPoolExecutor(os.cpu_count(), context, start_worker, (shared_progress, threads))
    failures = []
    try:
        with tqdm(total=work, bar_format=BAR, disable=None, smoothing=0) as bar:
            pending = {pool.submit(function, job) for job in jobs}
            while pending:
                ended, pending = wait(pending, timeout=1, return_when=FIRST_COMPLETED)
                for future in ended:
                    if future.exception() is None:
                        on_result(future.result())
                    else:
                        failures.append(future.exception())
                bar.update(min(shared_progress.value, work) - bar.n)  # some start again
    except BaseException:
        for worker in multiprocessing.active_children():
            worker.terminate()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return failures
