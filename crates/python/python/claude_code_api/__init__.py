"""Python client of Claude Code API, sync and async, on a Rust core.

    from claude_code_api import ClaudeClient

    with ClaudeClient(base_url="http://localhost:8080") as client:
        print(client.complete("Write a haiku about Python").content)
"""

from typing import TYPE_CHECKING

from ._async import AsyncClaudeClient, AsyncStream
from ._client import ClaudeClient
from ._errors import (
    APIConnectionError,
    AuthenticationError,
    BatchInterrupted,
    BudgetExceededError,
    ClaudeAPIError,
    InvalidRequestError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    TimeoutError,
)
from ._native import Stream
from ._types import Cache, Model, Response, Usage

if TYPE_CHECKING:
    from ._batch import AsyncBatchStream, BatchStream
    from ._batches import AsyncBatches, Batches
    from ._reports import BatchJob, BatchResponse, BatchResult, UsageStats

__version__ = "0.1.0"

__all__ = [
    "APIConnectionError",
    "AsyncBatchStream",
    "AsyncBatches",
    "AsyncClaudeClient",
    "AsyncStream",
    "AuthenticationError",
    "BatchInterrupted",
    "BatchJob",
    "BatchResponse",
    "BatchResult",
    "BatchStream",
    "Batches",
    "BudgetExceededError",
    "Cache",
    "ClaudeAPIError",
    "ClaudeClient",
    "InvalidRequestError",
    "Model",
    "PermissionDeniedError",
    "RateLimitError",
    "Response",
    "ServerError",
    "Stream",
    "TimeoutError",
    "Usage",
    "UsageStats",
]

if not TYPE_CHECKING:

    def __getattr__(name):
        if name in ("AsyncBatchStream", "BatchStream"):
            from . import _batch

            return getattr(_batch, name)
        if name in ("AsyncBatches", "Batches"):
            from . import _batches

            return getattr(_batches, name)
        if name in ("BatchJob", "BatchResponse", "BatchResult", "UsageStats"):
            from . import _reports

            return getattr(_reports, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
