"""The results of a batch as they come, and all of them together. Loaded on first use."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Callable, List, Optional, Type

from ._async import run
from ._errors import BatchInterrupted
from ._native import AsyncBatch, Batch
from ._reports import BatchResponse, BatchResult

# Called with how many were completed, how many failed, and how many prompts there are.
OnProgress = Callable[[int, int, int], object]


class Tally:
    """Counts and sums over the results handed over until now; after the end, over all."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.completed: int = 0
        self.failed: int = 0
        self.total_tokens: int = 0
        self.total_cost_nanos: int = 0

    @property
    def total_cost(self) -> float:
        """USD, for printing; ``total_cost_nanos`` is exact."""
        return self.total_cost_nanos / 1e9

    def count(self, result: BatchResult) -> BatchResult:
        if result.status == "completed":
            self.completed += 1
        else:
            self.failed += 1
        self.total_tokens += 0 if result.usage is None else result.usage.total_tokens
        self.total_cost_nanos += result.cost_nanos or 0
        return result

    def response(self, results: List[BatchResult]) -> BatchResponse:
        # Counted anew: Ctrl-C may have come between a result and its place in the list.
        sums = Tally(self.total)
        ordered = [sums.count(result) for result in sorted(results, key=lambda result: result.index)]
        return BatchResponse(
            sums.total, sums.completed, sums.failed, ordered, sums.total_cost, sums.total_tokens, sums.total_cost_nanos
        )


class BatchStream(Tally):
    """The results of a batch as they complete: an iterator of :class:`BatchResult`, and a context manager.

    The batch is sent when the first result is asked for. Leaving a ``with`` block, ``close()`` and garbage collection cancel on
    the service what is unfinished. ``completed``, ``failed``, ``total_cost`` and the rest count what came until now.
    """

    def __init__(self, core: Batch, total: int) -> None:
        super().__init__(total)
        self._core = core

    def __iter__(self) -> BatchStream:
        return self

    def __next__(self) -> BatchResult:
        result = self._core.next()
        if result is None:
            raise StopIteration
        return self.count(result)

    def __enter__(self) -> BatchStream:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    def close(self) -> None:
        """Cancels on the service what is unfinished, and closes the connection."""
        self._core.close()

    def gather(self, on_progress: Optional[OnProgress] = None, progress: bool = False) -> BatchResponse:
        """All results that are still to come, in the order of their prompts."""
        results: List[BatchResult] = []
        try:
            with self, Bar(self, on_progress, progress) as bar:
                for result in self:
                    results.append(result)
                    bar.advance()
        except KeyboardInterrupt:
            raise BatchInterrupted(self.response(results)) from None
        return self.response(results)


class AsyncBatchStream(Tally):
    """The results of a batch as they complete: an asynchronous iterator of :class:`BatchResult`, and a context manager.

    The batch is sent when the first result is asked for. Leaving an ``async with`` block, ``close()``, cancellation and garbage
    collection cancel on the service what is unfinished. ``completed``, ``failed``, ``total_cost`` and the rest count what came
    until now.
    """

    def __init__(self, core: AsyncBatch, total: int) -> None:
        super().__init__(total)
        self._core = core
        self._came: List[BatchResult] = []  # and were not handed over; the last is the next

    def __aiter__(self) -> AsyncBatchStream:
        return self

    async def __anext__(self) -> BatchResult:
        if not self._came:
            try:
                self._came = (await run(self._core.next))[::-1]
            except BaseException:
                self._core.close()
                raise
        if not self._came:
            raise StopAsyncIteration
        return self.count(self._came.pop())

    async def __aenter__(self) -> AsyncBatchStream:
        return self

    async def __aexit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Cancels on the service what is unfinished, and closes the connection."""
        self._came.clear()
        self._core.close()

    async def gather(self, on_progress: Optional[OnProgress] = None, progress: bool = False) -> BatchResponse:
        """All results that are still to come, in the order of their prompts."""
        results: List[BatchResult] = []
        async with self:
            with Bar(self, on_progress, progress) as bar:
                async for result in self:
                    results.append(result)
                    bar.advance()
        return self.response(results)


class Bar:
    """Tells how far a batch has come: to who asked, and on standard error when that is a terminal."""

    WIDTH = 30
    EVERY = 0.1  # seconds between two drawings

    def __init__(self, tally: Tally, on_progress: Optional[OnProgress], shown: bool) -> None:
        self._tally, self._on_progress = tally, on_progress
        self._shown = shown and sys.stderr is not None and sys.stderr.isatty()
        self._drawn_at = float("-inf")

    def __enter__(self) -> Bar:
        self._draw()
        return self

    def __exit__(self, *_: object) -> None:
        self._draw("\n")

    def advance(self) -> None:
        if self._on_progress is not None:
            self._on_progress(self._tally.completed, self._tally.failed, self._tally.total)
        if self._shown and time.monotonic() - self._drawn_at >= self.EVERY:
            self._draw()

    def _draw(self, end: str = "") -> None:
        if not self._shown:
            return
        tally = self._tally
        ended = tally.completed + tally.failed
        filled = self.WIDTH * ended // max(tally.total, 1)
        failed = f", {tally.failed} failed" if tally.failed else ""
        bar = "#" * filled + "." * (self.WIDTH - filled)
        sys.stderr.write(f"\r[{bar}] {ended}/{tally.total}{failed}, ${tally.total_cost:.4f}{end}")
        sys.stderr.flush()
        self._drawn_at = time.monotonic()
