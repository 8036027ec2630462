"""Worker processes that each hold the model. A worker that raises or dies becomes an error that names it."""

import os
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Self

import torch

from workbench.errors import WorkerError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

__all__ = ["WorkerPool"]


@dataclass(frozen=True)
class _Worker:
    name: str
    process: Any
    pipe: "Connection"

    def ask(self, message: Any) -> Any:
        """Send one message and wait for its answer; a dead process closes the pipe, so this never hangs on it."""
        try:
            self.pipe.send(message)
            failed, answer = self.pipe.recv()
        except (EOFError, OSError) as error:
            self.process.join(5)
            raise WorkerError(
                f"{self.name} (pid {self.process.pid}) died with exit code {self.process.exitcode}. If it is -9 the "
                "machine ran out of memory: use fewer workers. A script that starts a pool must do so under "
                'if __name__ == "__main__".'
            ) from error
        if failed:
            raise WorkerError(f"{self.name} (pid {self.process.pid}) raised an exception:\n{answer}")
        return answer


class WorkerPool:
    """Copies of a model in processes of their own, one per device; several threads may use one pool at once.

    Args:
        model: any model whose method ``run_chunk(chunk, options)`` does the work; its weights are shared, not copied.
        devices: one worker is started for each name; the same device may be named more than once.

    Raises:
        WorkerError: a worker did not start.
    """

    def __init__(self, model: Any, devices: Sequence[str]) -> None:
        context = torch.multiprocessing.get_context("spawn")
        threads = max(1, (os.cpu_count() or 1) // max(1, len(devices)))
        self._workers: list[_Worker] = []
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        self._threads = ThreadPoolExecutor(len(devices))
        self._closed = False
        try:
            for number, device in enumerate(devices):
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(theirs, model, device, threads), daemon=True)
                try:
                    process.start()
                except (AttributeError, TypeError, ValueError) as error:  # what pickling raises
                    raise WorkerError(f"The model cannot be sent to a worker process: {error}") from error
                theirs.close()
                self._workers.append(_Worker(f"worker {number} on {device}", process, ours))
            for worker in self._workers:
                worker.ask(None)  # it answers once the model is on its device
                self._idle.put(worker)
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self._workers)

    def map(self, chunks: Iterable[Any], options: Any) -> Iterator[Any]:
        """Yield the result of every chunk, in order.

        Raises:
            WorkerError: a worker raised or died; the other chunks of this call are given up.
        """
        if self._closed:
            raise WorkerError("This pool is closed. Start another with start_multi_process_pool().")
        futures = [self._threads.submit(self._run, (chunk, options)) for chunk in chunks]
        try:
            for future in futures:
                yield future.result()
        except CancelledError as error:
            raise WorkerError("The pool was closed while it was at work.") from error
        finally:
            for future in futures:
                future.cancel()

    def _run(self, message: Any) -> Any:
        worker = self._idle.get()
        try:
            return worker.ask(message)
        finally:
            self._idle.put(worker)  # a dead one too: the next call then learns of it at once

    def close(self) -> None:
        """Stop the workers, whatever they are doing."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join(10)
            worker.pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _serve(pipe: "Connection", model: Any, device: str, threads: int) -> None:
    """Answer messages until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupted notebook interrupts its whole group of processes

    def start() -> None:
        if torch.device(device).type == "cpu":
            torch.set_num_threads(threads)
        model.to(device)

    _answer(pipe, lambda _: start())
    while True:
        _answer(pipe, lambda message: model.run_chunk(*message))


def _answer(pipe: "Connection", work: Callable[[Any], Any]) -> None:
    try:
        message = pipe.recv()
    except EOFError:
        raise SystemExit(0) from None
    try:
        answer = (False, work(message))
    except Exception:  # whatever it is, the parent must hear of it
        answer = (True, traceback.format_exc())
    pipe.send(answer)
