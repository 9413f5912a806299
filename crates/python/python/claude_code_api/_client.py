"""The blocking client."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, NoReturn, Optional, Sequence, Type

from . import _arguments, _log
from ._arguments import BatchPrompt, Default, Prompt, Routing
from ._native import Stream, SyncCore
from ._types import Model, Response

if TYPE_CHECKING:
    from ._batch import BatchStream
    from ._batches import Batches
    from ._reports import BatchResponse, UsageStats


class ClaudeClient:
    """A client of one service, for programs that wait. Usable from many threads, and in the child of a fork.

    base_url: URL of the service. Not given: ``CLAUDE_CODE_API_BASE_URL``, else http://localhost:8080.
    api_key: key to send. Not given: ``CLAUDE_CODE_API_API_KEY``, else none.
    project_id: the project that pays. Not given: ``CLAUDE_CODE_API_PROJECT_ID``, else the key's own.
    timeout: seconds that a call may take, all of its attempts included; for a stream, until its first text and between texts.
    max_retries: the most attempts of a call; 0 and 1 both mean one.
    retry_delay: seconds before the second attempt; it doubles with each one more, up to 8.
    max_retry_after: the longest wait, in seconds, that the service may ask for; a longer one is an error at once.
    """

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
        self._core: Optional[SyncCore] = SyncCore(options)

    def complete(
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
        return self._open().complete(
            _arguments.call(
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
        )

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
    ) -> Stream:
        """The answer as it comes: an iterator of texts. ``total_timeout``: seconds that it may take in all."""
        return self._open().stream(
            _arguments.call(
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
        )

    def batch(
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
        Ctrl-C raises BatchInterrupted, which has the results until then, and cancels the others on the service.
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
        return stream.gather(on_progress, progress)

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
    ) -> BatchStream:
        """The results as they complete: an iterator of :class:`BatchResult`, each with the ``index`` of its prompt."""
        from ._batch import BatchStream

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
        return BatchStream(self._open().batch(call), len(call["prompts"]))

    @property
    def batches(self) -> Batches:
        """Batches that the service stores, and works on whether or not anybody waits: create, get, list, results, cancel, wait."""
        from ._batches import Batches

        return Batches(self._open)

    def get_usage(self, period: str = "month", project_id: Optional[str] = None) -> UsageStats:
        """What a project has used in the ``"month"``, ``"week"`` or ``"day"`` that is now, in UTC."""
        return self._open().usage(*_arguments.usage(project_id, period))

    def health(self) -> Dict[str, Any]:
        """How the service is: ``status`` (``"ok"``, ``"degraded"`` or ``"draining"``), ``version``, ``services``. One attempt."""
        return self._open().health()

    def close(self) -> None:
        """Closes the connections. A closed client makes no more calls."""
        core, self._core = self._core, None
        if core is not None:
            core.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client holds connections and cannot be pickled; make one in each process")

    def _open(self) -> SyncCore:
        if self._core is None:
            raise RuntimeError("this client is closed; make another one")
        _log.follow()
        return self._core

    def __enter__(self) -> ClaudeClient:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()
