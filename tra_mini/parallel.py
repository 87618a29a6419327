"""Independent jobs side by side, here or on other machines, with one progress bar over all."""

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


def start_worker(shared_progress):
    """Prepares a process of ours: its share in the progress bar, its end should the parent die."""
    global progress
    progress = shared_progress
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends the workers
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def in_threads(threads, function, job):
    """function(job) in a process of so many torch threads: their number changes the last bits."""
    torch.set_num_threads(threads)
    return function(job)


def run_all(function, jobs, on_result, *, work, threads, executor=None):
    """Calls on_result(function(job)) for every job as it finishes; work: what each counts for.

    executor: a concurrent.futures.Executor, whose workers can import this package; without one, a
    process for each core: several of few torch threads beat one of many on models this small.
    Returns the exceptions of the jobs that failed; the others go on. Ctrl-C ends all workers.
    """
    shared_progress = pool = None
    if executor is None:
        os.environ.update(MEMORY)  # read by the workers as they start; this process stays as it is
        context = multiprocessing.get_context("spawn")
        shared_progress = context.Value("d", 0.0)
        pool = ProcessPoolExecutor(os.cpu_count(), context, start_worker, (shared_progress,))
        executor = pool
    pending, failures, done = {}, [], 0.0
    try:
        with tqdm(total=sum(work), bar_format=BAR, disable=None, smoothing=0) as bar:
            for job, share in zip(jobs, work, strict=True):
                pending[executor.submit(in_threads, threads, function, job)] = share
            while pending:
                for future in wait(pending, timeout=1, return_when=FIRST_COMPLETED).done:
                    done += pending.pop(future)
                    if future.exception() is None:
                        on_result(future.result())
                    else:
                        failures.append(future.exception())
                so_far = shared_progress.value if pool else done  # elsewhere only what is finished
                bar.update(min(so_far, bar.total) - bar.n)  # some start again
    except BaseException:
        for worker in multiprocessing.active_children() if pool else ():
            worker.terminate()
        raise
    finally:
        for future in pending:
            future.cancel()
        if pool:
            pool.shutdown(wait=False)
    return failures
