"""Batches that the service stores. Loaded on first use."""

from __future__ import annotations

import time
from typing import AsyncIterator, Callable, Iterable, Iterator, List, NoReturn, Optional, Union

from . import _arguments
from ._arguments import BatchPrompt, Routing
from ._async import run
from ._batch import Bar, OnProgress, Tally
from ._errors import TimeoutError
from ._native import AsyncCore, SyncCore
from ._reports import BatchJob, BatchResponse, BatchResult
from ._types import Model

# Seconds between two looks at a batch that is waited for: the first, and the longest.
FIRST, LONGEST = 0.1, 2.0


class _Wait:
    """What is done between two looks at a batch, by whoever sleeps there."""

    def __init__(self, batch: Union[BatchJob, str], timeout: Optional[float], on_progress: Optional[OnProgress], bar: bool) -> None:
        self.id = _id(batch)
        self._timeout = None if timeout is None else _arguments.seconds("timeout", timeout)
        self._begun_at = time.monotonic()
        self._pause = FIRST
        self._tally = Tally(0)
        self._ended = -1
        self.bar = Bar(self._tally, on_progress, bar)

    def pause(self, job: BatchJob) -> float:
        """Tells how far it is; seconds until the next look, 0 when it has ended."""
        tally = self._tally
        tally.total, tally.completed, tally.failed, tally.total_cost_nanos = job.total, job.completed, job.failed, job.total_cost_nanos
        if job.completed + job.failed != self._ended:
            self._ended = job.completed + job.failed
            self.bar.advance()
        if job.ended_at is not None:
            return 0.0
        pause, self._pause = self._pause, min(self._pause * 1.5, LONGEST)
        left = self.left()
        return pause if left is None else min(pause, left)

    def left(self) -> Optional[float]:
        """The seconds that are left of the time-out."""
        if self._timeout is None:
            return None
        left = self._begun_at + self._timeout - time.monotonic()
        if left <= 0:
            raise self.late()
        return left

    def late(self) -> TimeoutError:
        return TimeoutError(f"{self.id} has not ended within {self._timeout:g} s, and goes on; wait for it again")


class Batches:
    """The batches that a service stores: ``client.batches``. Each goes on whatever becomes of this program, and through restarts of the
    service; no prompt of it is paid for twice. Where a batch is asked for, its id will do.
    """

    def __init__(self, opened: Callable[[], SyncCore]) -> None:
        self._core = opened

    def create(
        self,
        prompts: Iterable[BatchPrompt],
        model: str = Model.AUTO,
        project_id: Optional[str] = None,
        parallel: bool = True,
        timeout: Optional[float] = None,
        *,
        system: Optional[str] = None,
        max_tokens: Optional[int] = None,
        max_concurrency: Optional[int] = None,
        max_cost: Optional[float] = None,
        routing: Optional[Routing] = None,
        idempotency_key: Optional[str] = None,
        economy: bool = False,
    ) -> BatchJob:
        """Stores a batch, to be worked on from now on. The arguments are those of ``batch()``; under a key that was used before, it is
        the same batch.

        economy: at half price, within 24 hours. The service refuses ``parallel=False``, ``timeout`` and ``max_concurrency`` beside it.
        """
        call = _arguments.batch(
            prompts, model, project_id, parallel, timeout, system, max_tokens, max_concurrency, max_cost, routing, idempotency_key, economy
        )
        return self._core().create_batch(call)

    def get(self, batch: Union[BatchJob, str]) -> BatchJob:
        """How far a batch is."""
        job = self._core().stored_batch(_id(batch))
        assert job is not None, "no time was set"
        return job

    def list(self, project_id: Optional[str] = None, before: Union[BatchJob, str, None] = None) -> List[BatchJob]:
        """Up to 20 batches of a project, the newest first; with ``before``, those that are older than it."""
        return self._core().stored_batches(_arguments.given(project_id), None if before is None else _id(before))

    def results(self, batch: Union[BatchJob, str], after: int = 0) -> Iterator[BatchResult]:
        """The results that a batch has by now, in the order in which they came, without the first ``after``; ``index`` is the place of
        the prompt. A lost connection is made good, and no result comes twice.
        """
        return iter(self._core().batch_results(_id(batch), _after(after)).next, None)

    def cancel(self, batch: Union[BatchJob, str]) -> BatchJob:
        """Ends what runs; what waits does not begin, and results that came stay."""
        return self._core().cancel_batch(_id(batch))

    def wait(
        self,
        batch: Union[BatchJob, str],
        timeout: Optional[float] = None,
        on_progress: Optional[OnProgress] = None,
        progress: bool = False,
    ) -> BatchResponse:
        """Waits until a batch has ended or was cancelled. All results that it has, in the order of the prompts.

        timeout: seconds, after which TimeoutError is raised.
        on_progress, progress: as for ``batch()``.
        Neither a time-out nor Ctrl-C cancels the batch: whoever knows its id can wait for it again.
        """
        wait = _Wait(batch, timeout, on_progress, progress)
        with wait.bar:
            while True:
                job = self._core().stored_batch(wait.id, wait.left())
                if job is None:
                    raise wait.late()
                pause = wait.pause(job)
                if not pause:
                    return Tally(job.total).response([*self.results(job)])
                time.sleep(pause)

    def __reduce__(self) -> NoReturn:
        raise TypeError("this holds a client, and cannot be pickled; a batch's id can")


class AsyncBatches:
    """The batches that a service stores: ``client.batches`` of :class:`AsyncClaudeClient`. As :class:`Batches`."""

    def __init__(self, opened: Callable[[], AsyncCore]) -> None:
        self._core = opened

    async def create(
        self,
        prompts: Iterable[BatchPrompt],
        model: str = Model.AUTO,
        project_id: Optional[str] = None,
        parallel: bool = True,
        timeout: Optional[float] = None,
        *,
        system: Optional[str] = None,
        max_tokens: Optional[int] = None,
        max_concurrency: Optional[int] = None,
        max_cost: Optional[float] = None,
        routing: Optional[Routing] = None,
        idempotency_key: Optional[str] = None,
        economy: bool = False,
    ) -> BatchJob:
        """As :meth:`Batches.create`."""
        call = _arguments.batch(
            prompts, model, project_id, parallel, timeout, system, max_tokens, max_concurrency, max_cost, routing, idempotency_key, economy
        )
        core = self._core()
        job: BatchJob = await run(lambda mailbox, task_id: core.create_batch(mailbox, task_id, call))
        return job

    async def get(self, batch: Union[BatchJob, str]) -> BatchJob:
        """As :meth:`Batches.get`."""
        core, batch_id = self._core(), _id(batch)
        job: BatchJob = await run(lambda mailbox, task_id: core.stored_batch(mailbox, task_id, batch_id))
        return job

    async def list(self, project_id: Optional[str] = None, before: Union[BatchJob, str, None] = None) -> List[BatchJob]:
        """As :meth:`Batches.list`."""
        core, project, last = self._core(), _arguments.given(project_id), None if before is None else _id(before)
        jobs: List[BatchJob] = await run(lambda mailbox, task_id: core.stored_batches(mailbox, task_id, project, last))
        return jobs

    async def results(self, batch: Union[BatchJob, str], after: int = 0) -> AsyncIterator[BatchResult]:
        """As :meth:`Batches.results`."""
        core = self._core().batch_results(_id(batch), _after(after))
        try:
            while True:
                came: List[BatchResult] = await run(core.next)
                if not came:
                    return
                for result in came:
                    yield result
        finally:
            core.close()

    async def cancel(self, batch: Union[BatchJob, str]) -> BatchJob:
        """As :meth:`Batches.cancel`."""
        core, batch_id = self._core(), _id(batch)
        job: BatchJob = await run(lambda mailbox, task_id: core.cancel_batch(mailbox, task_id, batch_id))
        return job

    async def wait(
        self,
        batch: Union[BatchJob, str],
        timeout: Optional[float] = None,
        on_progress: Optional[OnProgress] = None,
        progress: bool = False,
    ) -> BatchResponse:
        """As :meth:`Batches.wait`. Cancelling the task does not cancel the batch either."""
        import asyncio

        wait = _Wait(batch, timeout, on_progress, progress)
        with wait.bar:
            while True:
                left = wait.left()
                try:
                    job = await asyncio.wait_for(self.get(wait.id), left)
                except asyncio.TimeoutError as late:
                    # Which a call's own is, too, where it is Python's own.
                    raise late if isinstance(late, TimeoutError) else wait.late() from None
                pause = wait.pause(job)
                if not pause:
                    return Tally(job.total).response([result async for result in self.results(job)])
                await asyncio.sleep(pause)

    def __reduce__(self) -> NoReturn:
        raise TypeError("this holds a client, and cannot be pickled; a batch's id can")


def _id(batch: Union[BatchJob, str]) -> str:
    return batch.id if isinstance(batch, BatchJob) else _arguments.required("batch", batch)


def _after(count: int) -> int:
    return _arguments.whole("after", count, 0, 2**63 - 1) or 0
