"""Worker processes of Dask, on this machine or on others, that compute what one process then writes in order.

A task has a key, and its result depends on nothing but its arguments: a worker that is lost costs the time of its task,
which another one computes again.
"""

import asyncio
import logging
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import version
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING, Any

from pipelines.common import terminal
from pipelines.common.wording import plural
from tracking import catalogue
from tracking.errors import InputError, RunError
from tracking.home import Home, find_home

if TYPE_CHECKING:
    from distributed import Client, Future

Task = tuple[Callable[..., Any], tuple[Any, ...]]  # a function of a module, and its arguments
WORKED_ON = (*catalogue.WITH_CHECKPOINTS, "explain", "compare")  # kinds of runs that workers read
TASKS_AHEAD = 4  # per worker, that are under way or done while the one process writes
CONNECTING = 10.0  # seconds in which a scheduler answers and has a worker
PATIENCE = 60.0  # seconds without any worker before the work is given up
POLL = 1.0  # seconds between two looks whether there are workers
FETCHING = 60.0  # seconds in which a result that is done comes from its worker
# what a process runs that `working` starts: our packages come from where they are here, all others from the same path
SERVE = (
    "import sys; root, address, *sys.path = sys.argv[1:]; sys.path.insert(0, root); "
    "import pipelines, queries, tracking, xai; del sys.path[0]; "
    "from pipelines.common.workers import serve; serve(address)"
)
_CURRENT: ContextVar["Pool | None"] = ContextVar("the workers of this command", default=None)


def current() -> "Pool | None":
    """The workers of this command; None if it computes in its own process."""
    return _CURRENT.get()


class Pool:
    """Workers that compute tasks ahead of the process that takes their results."""

    def __init__(
        self, client: "Client", place: str, *, processes: Sequence[subprocess.Popen] = (), scheduler: str | None = None
    ) -> None:
        self._client = client
        self._place = place  # in words
        self._processes = processes
        self.workers = len(processes) or None  # of this machine; None: a scheduler's, on any machine
        self.scheduler = scheduler
        self._waiting: deque[tuple[str, Task]] = deque()
        self._under_way: dict[str, Future] = {}

    def ask_all(self, function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
        """What a function returns in each worker, or the error that it raises, by the worker's address."""
        answers: dict[str, Any] = self._client.run(function, *arguments, on_error="return")
        return answers

    def begin(self, tasks: Mapping[str, Task]) -> None:
        """Start on tasks, whose results will be taken in this order; those of earlier work are dropped."""
        self._waiting = deque(tasks.items())
        self._under_way = {}
        self._submit()

    def take(self, key: str, advice: str) -> Any:
        """The result of a task, once it is there. Raises RunError, with advice, if there is no worker left."""
        from distributed import KilledWorker, wait

        future = self._under_way.pop(key)
        last_seen = monotonic()
        while True:
            try:
                wait([future], timeout=POLL)
                # not for as long as it takes: a result is lost with its worker, and then computed again
                result = future.result(timeout=FETCHING)
                break
            except TimeoutError:
                if future.status == "error":  # the task's own
                    raise
                if self._count():
                    last_seen = monotonic()
                elif self._processes or monotonic() - last_seen > PATIENCE:
                    raise RunError(f"no worker is left {self._place}; {advice}") from None
            except KilledWorker:
                raise RunError(
                    f"workers {self._place} repeatedly ended while computing the same images, perhaps because memory "
                    f"ran out; {advice}"
                ) from None
            except CancelledError:
                raise RunError(f"the connection to the Dask scheduler {self._place} is lost; {advice}") from None
        self._submit()
        return result

    def _submit(self) -> None:
        ahead = TASKS_AHEAD * max(self._count(), 1)
        while self._waiting and len(self._under_way) < ahead:
            key, (function, arguments) = self._waiting.popleft()
            self._under_way[key] = self._client.submit(function, *arguments, key=key, pure=True)

    def _count(self) -> int:
        """How many workers there are."""
        if self._processes:
            return sum(process.poll() is None for process in self._processes)
        try:
            return len(self._client.nthreads())
        except (OSError, RuntimeError, ValueError):  # the connection is lost; the futures will say so
            return 0


@contextmanager
def working(workers: int | None, scheduler: str | None, home: Home, reference: str) -> Iterator[Pool | None]:
    """Inside, work on a run goes to N worker processes of this machine, or to a scheduler's workers, if one is given.

    Raises InputError without Dask, and if the scheduler does not answer or has no worker that can read the run.
    """
    if workers is None and scheduler is None:
        yield None
        return
    if workers is not None and scheduler is not None:
        raise InputError("--workers starts processes on this machine, --scheduler uses running ones; give one of them")
    try:
        import distributed
    except ImportError:
        raise InputError(
            "--workers and --scheduler need Dask, which is not installed; install it with: pip install "
            "'xai-study[workers]'"
        ) from None
    _silence_dask()
    opened = _start(distributed, workers) if workers is not None else _connect(distributed, str(scheduler))
    with opened as pool:
        if scheduler is not None:
            _check_workers(pool, home, catalogue.resolve(home, reference, WORKED_ON).run_id)
        token = _CURRENT.set(pool)
        try:
            yield pool
        finally:
            _CURRENT.reset(token)


@contextmanager
def _start(distributed: Any, workers: int) -> Iterator[Pool]:
    """Workers that are processes of their own: not forked, as torch has threads; and not spawned by multiprocessing,
    which would run a user's script again in each of them.
    """
    nobody = distributed.LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0", silence_logs=logging.CRITICAL)
    with nobody as cluster, distributed.Client(cluster) as client:
        root = str(Path(__file__).parents[2])
        command = [sys.executable, "-c", SERVE, root, cluster.scheduler_address, *sys.path]
        processes = [
            # in a session of its own, as Ctrl-C in a terminal is meant for the command
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)
            for _ in range(workers)
        ]
        try:
            yield Pool(client, f"in {plural(workers, 'process', 'processes')} of this machine", processes=processes)
        finally:
            for process in processes:
                process.kill()  # they write nothing
                process.communicate()


def serve(address: str) -> None:
    """Be a worker of the scheduler at an address, until standard input ends, as it does however the command ends."""
    import distributed

    def end_with_command() -> None:
        os.read(sys.stdin.fileno(), 1)  # not sys.stdin.read, whose lock would be in the way when the interpreter ends
        os._exit(0)  # it writes nothing

    async def work() -> None:
        async with distributed.Worker(address, nthreads=1, memory_limit=0, dashboard=False) as worker:
            await worker.finished()

    Thread(target=end_with_command, daemon=True).start()
    be_quiet()
    _silence_dask()
    asyncio.run(work())


@contextmanager
def _connect(distributed: Any, scheduler: str) -> Iterator[Pool]:
    try:
        client = distributed.Client(scheduler, timeout=CONNECTING)
    except (OSError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:150]
        raise InputError(
            f"no Dask scheduler answers at {scheduler} ({reason}); --scheduler takes an address such as "
            "tcp://host:8786; start one with: dask scheduler"
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=CONNECTING)
        except TimeoutError:
            raise InputError(
                f"the Dask scheduler at {scheduler} has no worker; start some with: dask worker {scheduler} "
                "--nthreads 1"
            ) from None
        yield Pool(client, f"at {scheduler}", scheduler=scheduler)


def _check_workers(pool: Pool, home: Home, run_id: str) -> None:
    """Raise InputError if a worker cannot read a run, or computes with another version of torch."""
    for address, answer in pool.ask_all(look_around, str(home.path), run_id).items():
        if answer == version("torch"):
            continue
        if isinstance(answer, ImportError):
            reason = f"does not have this version of xai-study ({answer}); install it there"
        elif isinstance(answer, InputError):
            reason = f"cannot read the run in {home.path} ({answer}); let it see the same folder at the same path"
        elif isinstance(answer, Exception):
            reason = f"cannot work ({type(answer).__name__}: {answer})"
        else:
            reason = f"has torch {answer}, and this process {version('torch')}; install the same"
        raise InputError(f"the worker {address} {reason}, or leave --scheduler out")


def look_around(home: str, run_id: str) -> str:
    """In a worker: its version of torch. Raises InputError if it cannot read a run."""
    catalogue.resolve(find_home(home), run_id, WORKED_ON)
    return version("torch")


def share_of_cores(threads: int) -> int:
    """Threads that each worker of this machine computes with, of the number that one process would use."""
    pool = current()
    if pool is None or not pool.workers:
        return threads
    return min(threads, max((os.cpu_count() or 1) // pool.workers, 1))


def _silence_dask() -> None:
    """Leave out what Dask logs, with tracebacks: what matters is reported here, in one line."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == "distributed":  # several have levels of their own
            logging.getLogger(name).setLevel(logging.CRITICAL)


def be_quiet() -> None:
    """In a worker: what models print is not a result, and the command says what there is to say."""
    sys.stdout = sys.stderr
    terminal.mute()
