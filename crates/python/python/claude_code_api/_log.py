"""What the native core writes to ``logging``, as the logger ``claude_code_api``: INFO for an attempt that failed and is followed by
another, DEBUG for every response. Never a key, a prompt or an answer.
"""

from __future__ import annotations

import sys
from typing import Any

from ._native import log_from

_logger: Any = None
_level: Any = None


def follow() -> None:
    """Tells the core which lines are wanted. A program that has not imported ``logging`` wants none."""
    global _logger, _level
    if _logger is None:
        logging = sys.modules.get("logging")
        # Still being imported, by another thread, it may lack what is asked of it.
        if not hasattr(logging, "getLogger"):
            return
        _logger = logging.getLogger("claude_code_api")  # type: ignore[union-attr]
    level = _logger.getEffectiveLevel()
    if level != _level:
        _level = level
        log_from(min(max(level, 0), 255))
