"""Independent jobs side by side, here or on other machines, with one progress bar over all."""

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor, as_completed

from tqdm import tqdm

MEMORY = {  # glibc keeps what a worker frees: fetching pages anew took half of the time
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**31),
}


def start_worker():
    """Prepares a worker process: it has no progress bar of its own, and ends with its parent."""
    os.environ["TQDM_DISABLE"] = "1"
    tqdm.set_lock(threading.RLock())  # else it makes a semaphore, which a worker's end would leak
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def local_executor():
    """A process for each core: several of one torch thread beat one of many on models so small."""
    os.environ.update(MEMORY)  # read by the workers as they start; this process stays as it is
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(os.cpu_count(), context, start_worker)


def submit_all(executor, function, jobs):
    """A future for each job. Workers started here never see Ctrl-C: their parent ends them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # they inherit this
    try:
        return [executor.submit(function, job) for job in jobs]
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def run_all(function, jobs, on_result, executor=None):
    """Calls on_result(function(job)) for every job as it finishes.

    executor: a concurrent.futures.Executor whose workers can import this package; without one, a
    process for each core. Returns the exceptions of the jobs that failed; the others go on. Ctrl-C
    ends all workers. Raises CancelledError if the executor itself is gone.
    """
    pool = None
    if executor is None:
        pool = local_executor()
        executor = pool

    # Results are handed on as they come; failures are collected.
    futures = []
    failures = []
    try:
        futures = submit_all(executor, function, jobs)
        finished = as_completed(futures)
        for future in tqdm(finished, total=len(jobs), unit="run", disable=None):
            if future.exception() is None:
                on_result(future.result())
            else:
                failures.append(future.exception())
    except BaseException:
        if pool:
            for worker in multiprocessing.active_children():
                worker.terminate()
        else:
            for future in futures:
                future.cancel()
        raise
    finally:
        if pool:
            pool.shutdown(cancel_futures=True)  # until its threads and workers are gone
    return failures
