"""The asyncio client."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, NoReturn, Optional, Sequence, Tuple, Type

from . import _arguments, _log
from ._arguments import BatchPrompt, Default, Prompt, Routing
from ._native import AsyncCore, AsyncStreamCore, Mailbox, Task
from ._types import Model, Response, Usage

if TYPE_CHECKING:
    import asyncio
    import weakref

    from ._batch import AsyncBatchStream
    from ._batches import AsyncBatches
    from ._reports import BatchResponse, UsageStats


class _Desk:
    """One event loop's mailbox, and the futures that wait for what comes into it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.mailbox = Mailbox()
        self._waiting: Dict[int, asyncio.Future[Any]] = {}
        self._last_id = 0
        loop.add_reader(self.mailbox.fileno(), self._sort)

    async def run(self, loop: asyncio.AbstractEventLoop, begin: Callable[[Mailbox, int], Task]) -> Any:
        self._last_id += 1
        task_id, future = self._last_id, loop.create_future()
        self._waiting[task_id] = future
        task = None
        try:
            task = begin(self.mailbox, task_id)
            return await future
        finally:
            if self._waiting.pop(task_id, None) is not None and task is not None:
                task.cancel()

    def _sort(self) -> None:
        for task_id, value, error in self.mailbox.take():
            future = self._waiting.pop(task_id, None)
            if future is None or future.done():
                continue
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)


# By loop and process: the child of a fork must not read its parent's mail. A desk is its loop's, which reads its mail until it is
# closed; held here, it would hold the loop, by the futures that wait. Weak keys are made on first use, as is asyncio.
_desks: Optional[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Tuple[int, weakref.ref[_Desk]]]] = None


async def run(begin: Callable[[Mailbox, int], Task]) -> Any:
    global _desks
    import asyncio
    import os
    import weakref

    loop = asyncio.get_running_loop()
    if _desks is None:
        _desks = weakref.WeakKeyDictionary()
    pid = os.getpid()
    owner, known = _desks.get(loop, (None, None))
    desk = known() if known is not None and owner == pid else None
    if desk is None:
        desk = _Desk(loop)
        _desks[loop] = (pid, weakref.ref(desk))
    return await desk.run(loop, begin)


class AsyncStream:
    """An answer as it comes: an asynchronous iterator of text, and an asynchronous context manager.

    The call is sent when the first text is asked for. Leaving the loop, ``close()``, the end of an ``async with`` block,
    cancellation and garbage collection stop the generation.
    """

    def __init__(self, core: AsyncStreamCore) -> None:
        self._core = core

    def __aiter__(self) -> AsyncStream:
        return self

    async def __anext__(self) -> str:
        try:
            text = await run(self._core.next)
        except BaseException:
            self._core.close()
            raise
        if text is None:
            raise StopAsyncIteration
        return str(text)

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self._core.close()

    async def close(self) -> None:
        """Stops the generation and closes the connection. What came until then can still be read."""
        self._core.close()

    @property
    def text(self) -> str:
        """The text received until now."""
        return self._core.outcome()[0]

    @property
    def id(self) -> Optional[str]:
        """Id of the call; None before its first text."""
        return self._core.outcome()[1]

    @property
    def model(self) -> Optional[str]:
        """The model that answers; None before its first text."""
        return self._core.outcome()[2]

    @property
    def response(self) -> Optional[Response]:
        """The whole response; None before the end, and when the call was ended early."""
        return self._core.outcome()[3]

    @property
    def usage(self) -> Optional[Usage]:
        """Tokens of the whole call; None as for ``response``."""
        response = self.response
        return None if response is None else response.usage

    @property
    def cost(self) -> Optional[float]:
        """Cost in USD, for printing; None as for ``response``."""
        response = self.response
        return None if response is None else response.cost

    @property
    def cost_nanos(self) -> Optional[int]:
        """Cost in nano-dollars, exact; None as for ``response``."""
        response = self.response
        return None if response is None else response.cost_nanos

    @property
    def stop_reason(self) -> Optional[str]:
        """Why generation ended; None as for ``response``."""
        response = self.response
        return None if response is None else response.stop_reason


class AsyncClaudeClient:
    """A client of one service, for asyncio. The arguments are those of :class:`ClaudeClient`."""

    def __init__(
        self,
        base_url: str = Default("http://localhost:8080"),
        api_key: Optional[str] = None,
        project_id: str = Default("default"),
        timeout: float = 30.0,
        max_retries: int = 3,
        retry_delay: float = 1.0,
        *,
        max_retry_after: float = 60.0,
    ) -> None:
        options = _arguments.options(
            base_url, api_key, project_id, timeout, max_retries, retry_delay, max_retry_after
        )
        self._core: Optional[AsyncCore] = AsyncCore(options)

    async def complete(
        self,
        prompt: Prompt,
        model: str = Model.AUTO,
        project_id: Optional[str] = None,
        timeout: Optional[float] = None,
        *,
        system: Optional[str] = None,
        max_tokens: Optional[int] = None,
        temperature: Optional[float] = None,
        top_p: Optional[float] = None,
        stop_sequences: Optional[Sequence[str]] = None,
        seed: Optional[int] = None,
        max_cost: Optional[float] = None,
        routing: Optional[Routing] = None,
        conversation_id: Optional[str] = None,
        idempotency_key: Optional[str] = None,
    ) -> Response:
        """The whole answer to a prompt: a text, or a list of messages of which the last is the user's.

        routing: what ``auto`` may lose to save money: "economy", "balanced", "quality", or per cent.
        conversation_id: what you know the conversation by; ``auto`` stays with its model, or takes a stronger one.
        idempotency_key: one of your own, for a call that is sent again after a restart; else each call has a new one, which
        all of its attempts share, so that none is paid for twice.
        """
        core = self._open()
        call = _arguments.call(
            prompt,
            model,
            project_id,
            timeout,
            system,
            max_tokens,
            temperature,
            top_p,
            stop_sequences,
            seed,
            max_cost,
            routing,
            conversation_id,
            idempotency_key,
        )
        response: Response = await run(lambda mailbox, task_id: core.complete(mailbox, task_id, call))
        return response

    def stream(
        self,
        prompt: Prompt,
        model: str = Model.AUTO,
        project_id: Optional[str] = None,
        timeout: Optional[float] = None,
        *,
        system: Optional[str] = None,
        max_tokens: Optional[int] = None,
        temperature: Optional[float] = None,
        top_p: Optional[float] = None,
        stop_sequences: Optional[Sequence[str]] = None,
        seed: Optional[int] = None,
        max_cost: Optional[float] = None,
        routing: Optional[Routing] = None,
        conversation_id: Optional[str] = None,
        idempotency_key: Optional[str] = None,
        total_timeout: Optional[float] = None,
    ) -> AsyncStream:
        """The answer as it comes: an iterator of texts. ``total_timeout``: seconds that it may take in all."""
        call = _arguments.call(
            prompt,
            model,
            project_id,
            timeout,
            system,
            max_tokens,
            temperature,
            top_p,
            stop_sequences,
            seed,
            max_cost,
            routing,
            conversation_id,
            idempotency_key,
            total_timeout,
        )
        return AsyncStream(self._open().stream(call))

    async def batch(
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
        on_progress: Optional[Callable[[int, int, int], object]] = None,
        progress: bool = False,
    ) -> BatchResponse:
        """Many prompts, each a call of its own: texts, or ``{"prompt": ..., "id": ...}``. Results are in the order of the prompts; one
        that failed has ``error`` and ``error_code``, and the batch goes on.

        parallel: several at a time, up to max_concurrency (16); else one after the other.
        timeout: seconds that each prompt may take on the service, from when it is its turn; 600 when not given. The batch has no
        limit in all; it fails when not a byte has come for 60 seconds.
        max_cost: USD that each prompt may cost.
        routing: as for ``complete()``, for each prompt.
        on_progress: called after each result with how many were completed, how many failed, and how many prompts there are.
        progress: shows a bar on standard error, when that is a terminal.
        Cancellation cancels on the service what is unfinished.
        """
        stream = self.batch_as_completed(
            prompts,
            model,
            project_id,
            parallel,
            timeout,
            system=system,
            max_tokens=max_tokens,
            max_concurrency=max_concurrency,
            max_cost=max_cost,
            routing=routing,
            idempotency_key=idempotency_key,
        )
        return await stream.gather(on_progress, progress)

    def batch_as_completed(
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
    ) -> AsyncBatchStream:
        """The results as they complete: an iterator of :class:`BatchResult`, each with the ``index`` of its prompt."""
        from ._batch import AsyncBatchStream

        call = _arguments.batch(
            prompts,
            model,
            project_id,
            parallel,
            timeout,
            system,
            max_tokens,
            max_concurrency,
            max_cost,
            routing,
            idempotency_key,
        )
        return AsyncBatchStream(self._open().batch(call), len(call["prompts"]))

    @property
    def batches(self) -> AsyncBatches:
        """Batches that the service stores, and works on whether or not anybody waits: create, get, list, results, cancel, wait."""
        from ._batches import AsyncBatches

        return AsyncBatches(self._open)

    async def get_usage(self, period: str = "month", project_id: Optional[str] = None) -> UsageStats:
        """What a project has used in the ``"month"``, ``"week"`` or ``"day"`` that is now, in UTC."""
        core, (project, window) = self._open(), _arguments.usage(project_id, period)
        stats: UsageStats = await run(lambda mailbox, task_id: core.usage(mailbox, task_id, project, window))
        return stats

    async def health(self) -> Dict[str, Any]:
        """How the service is: ``status`` (``"ok"``, ``"degraded"`` or ``"draining"``), ``version``, ``services``. One attempt."""
        health: Dict[str, Any] = await run(self._open().health)
        return health

    async def close(self) -> None:
        """Closes the connections. A closed client makes no more calls."""
        core, self._core = self._core, None
        if core is not None:
            core.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client holds connections and cannot be pickled; make one in each process")

    def _open(self) -> AsyncCore:
        if self._core is None:
            raise RuntimeError("this client is closed; make another one")
        _log.follow()
        return self._core

    async def __aenter__(self) -> AsyncClaudeClient:
        return self

    async def __aexit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        await self.close()
