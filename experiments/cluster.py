"""The same grids on many machines: workers of a Dask scheduler in place of processes here."""

import asyncio
import logging
import platform
from importlib.util import find_spec

ANSWER = 10  # seconds in which a scheduler must answer


def executor(address, patience=30):
    """A concurrent.futures.Executor whose jobs run on the workers of the scheduler at address.

    Raises ValueError if Dask is missing, no scheduler of Dask answers there, no worker has come
    after `patience` seconds, one lacks this package, has another Python, or runs several jobs in a
    process (torch's seeds and threads are a process's own).
    """
    try:
        from distributed import Client
    except ImportError:
        raise ValueError("a scheduler needs Dask; install it: pip install '.[cluster]'") from None

    # Connect, but only where a scheduler of Dask answers.
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # errors reach the caller
    try:
        asyncio.run(greet(address))
        client = Client(address, timeout=ANSWER)
    except Exception as error:  # noqa: BLE001 (what is no scheduler may answer anything)
        given = f"scheduler is {address!r}, which does not answer as one of Dask"
        raise ValueError(f"{given} ({error!r})") from None
    try:
        check_workers(client, patience)
    except ValueError:
        client.close()
        raise
    return client.get_executor(pure=False)


async def greet(address):
    """Raises whatever goes wrong with a scheduler there, and TimeoutError where nothing comes.

    Client would wait for ever at a port that says nothing, and for "" start a scheduler of its own.
    """
    from distributed.comm import connect

    connection = await asyncio.wait_for(connect(address, timeout=ANSWER), ANSWER)
    await connection.close()


def check_workers(client, patience):
    """Raises ValueError, as executor says, for the first worker that will not do."""
    try:
        client.wait_for_workers(1, timeout=patience)
    except TimeoutError:
        address = client.scheduler.address
        raise ValueError(f"scheduler is {address!r}, which has no worker so far") from None

    # A process for each job.
    for worker, about in client.scheduler_info(n_workers=-1)["workers"].items():
        if about["nthreads"] != 1:
            found = f"worker {worker} has {about['nthreads']} threads"
            raise ValueError(f"{found}; allowed: 1, as `dask worker --nthreads 1` starts it")

    # The same Python as here, by its first two numbers.
    here = platform.python_version_tuple()[:2]
    for worker, versions in client.get_versions()["workers"].items():
        python = versions["host"]["python"]  # such as 3.11.7.final.0
        if tuple(python.split(".")[:2]) != here:
            raise ValueError(f"worker {worker} has Python {python}; allowed: {'.'.join(here)}")

    # The project itself.
    for worker, found in client.run(find_spec, "experiments.runs", on_error="return").items():
        if found is None or isinstance(found, Exception):
            raise ValueError(f"worker {worker} lacks this project; install it there, too ({found})")
