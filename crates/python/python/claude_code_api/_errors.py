"""Everything that can go wrong.

    ClaudeAPIError
    ├── APIConnectionError      also a built-in ConnectionError
    ├── TimeoutError            also the built-in TimeoutError
    ├── AuthenticationError
    │   └── PermissionDeniedError
    ├── BudgetExceededError
    ├── RateLimitError
    ├── InvalidRequestError     also a ValueError
    └── ServerError

    KeyboardInterrupt
    └── BatchInterrupted
"""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any, Dict, Optional, Tuple, Type

if TYPE_CHECKING:
    from ._reports import BatchResponse


class ClaudeAPIError(Exception):
    """A call failed. The text says what was wrong, at which URL, after how many attempts, and what to do.

    code: the service's word for it, such as ``"rate_limited"``; None when the service did not answer.
    status_code: the HTTP status; None when there was no response.
    request_id: to quote when asking about it.
    retry_after: seconds that the service asks to wait.
    retryable: whether sending the same call again can help.
    attempts: how many attempts were made.
    body: the service's error as it came.
    """

    def __init__(
        self,
        message: str,
        *,
        code: Optional[str] = None,
        status_code: Optional[int] = None,
        request_id: Optional[str] = None,
        retry_after: Optional[float] = None,
        retryable: bool = False,
        attempts: int = 0,
        body: Optional[Dict[str, Any]] = None,
    ) -> None:
        # Not super().__init__: on the way to a built-in OSError that would take a text for an errno.
        Exception.__init__(self, message)
        self.message = message
        self.code = code
        self.status_code = status_code
        self.request_id = request_id
        self.retry_after = retry_after
        self.retryable = retryable
        self.attempts = attempts
        self.body = body

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> Tuple[Any, ...]:
        return _rebuilt, (type(self), self.message, dict(self.__dict__))


class APIConnectionError(ClaudeAPIError, builtins.ConnectionError):
    """The service could not be reached, or the connection broke."""

    def __init__(self, message: str, **fields: Any) -> None:
        ClaudeAPIError.__init__(self, message, **fields)


class TimeoutError(ClaudeAPIError, builtins.TimeoutError):
    """A deadline passed, here or on the service. What was generated until then is paid for."""

    def __init__(self, message: str, **fields: Any) -> None:
        ClaudeAPIError.__init__(self, message, **fields)


class AuthenticationError(ClaudeAPIError):
    """The key is missing or unknown."""


class PermissionDeniedError(AuthenticationError):
    """The key does not allow this."""


class BudgetExceededError(ClaudeAPIError):
    """The project's budget does not cover the call. Waiting a moment does not help, so it is no RateLimitError.

    limit, used, held, remaining: tokens, or USD for a limit in money. resets_at: RFC 3339.
    """

    @property
    def limit(self) -> Any:
        return (self.body or {}).get("limit")

    @property
    def used(self) -> Any:
        return (self.body or {}).get("used")

    @property
    def held(self) -> Any:
        return (self.body or {}).get("held")

    @property
    def remaining(self) -> Any:
        return (self.body or {}).get("remaining")

    @property
    def resets_at(self) -> Optional[str]:
        return (self.body or {}).get("resets_at")


class RateLimitError(ClaudeAPIError):
    """Too many requests in too short a time; ``retry_after`` says when to come back."""


class InvalidRequestError(ClaudeAPIError, ValueError):
    """The request cannot be carried out as it stands; the text names the field and what it takes."""


class ServerError(ClaudeAPIError):
    """The service, or what it stands on, failed or has no room now."""


class BatchInterrupted(KeyboardInterrupt):
    """Ctrl-C in a batch. It is a KeyboardInterrupt, so that a program that knows nothing of it ends as it should.

    results: the :class:`BatchResponse` of the prompts that had their results by then. The others were cancelled on the service.
    """

    def __init__(self, results: BatchResponse) -> None:
        super().__init__(f"interrupted after {len(results.results)} of {results.total} prompts")
        self.results = results

    def __reduce__(self) -> Tuple[Any, ...]:
        return BatchInterrupted, (self.results,)


_BY_KIND: Dict[str, Type[ClaudeAPIError]] = {
    "connection": APIConnectionError,
    "invalid_request": InvalidRequestError,
    "request_too_large": InvalidRequestError,
    "unauthenticated": AuthenticationError,
    "forbidden": PermissionDeniedError,
    "budget_exceeded": BudgetExceededError,
    "rate_limited": RateLimitError,
    "timeout": TimeoutError,
    "overloaded": ServerError,
    "backend_error": ServerError,
    "internal": ServerError,
}


def _rebuilt(cls: Type[ClaudeAPIError], message: str, fields: Dict[str, Any]) -> ClaudeAPIError:
    error = cls.__new__(cls, message)
    Exception.__init__(error, message)
    error.__dict__.update(fields)
    return error


def from_native(
    kind: str,
    message: str,
    status_code: Optional[int],
    request_id: Optional[str],
    retry_after: Optional[float],
    retryable: bool,
    attempts: int,
    body: Optional[str],
) -> Exception:
    """The exception for an error of the native core."""
    if kind == "configuration":
        return ValueError(message)
    parsed: Dict[str, Any] = {}
    if body is not None:
        import json

        parsed = json.loads(body)
    return _BY_KIND.get(kind, ClaudeAPIError)(
        message,
        code=parsed.get("code"),
        status_code=status_code,
        request_id=request_id,
        retry_after=retry_after,
        retryable=retryable,
        attempts=attempts,
        body=parsed or None,
    )
