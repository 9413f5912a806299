"""What goes in and what comes out: plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Dict, List, Optional, Union


class Model(str, Enum):
    """The models to ask for; a concrete model id may be given as text instead."""

    AUTO = "auto"
    HAIKU = "haiku"
    SONNET = "sonnet"
    OPUS = "opus"

    def __str__(self) -> str:
        return self.value


@dataclass
class Usage:
    """Tokens of a call. A budget counts ``total_tokens``."""

    input_tokens: int
    output_tokens: int
    total_tokens: int


@dataclass
class Cache:
    """Input tokens that went through the prompt cache; part of ``Usage.input_tokens``."""

    creation_input_tokens: int = 0
    read_input_tokens: int = 0


@dataclass
class Response:
    """The answer to one prompt."""

    id: str
    model: str
    content: str
    usage: Usage
    cost: float
    project_id: str
    # Beyond the specification: id of the model that really ran, why generation ended (end_turn, max_tokens, stop_sequence or
    # model_context_window_exceeded), where it ran, the exact cost in nano-dollars.
    model_id: str = ""
    stop_reason: str = ""
    backend: str = ""
    cost_nanos: int = 0
    cache: Cache = field(default_factory=Cache)
    route: Optional[Dict[str, str]] = None
    replayed: bool = False
    clamped_max_tokens: Optional[int] = None


@dataclass
class BatchResult:
    """What became of one prompt of a batch."""

    id: Optional[str]
    prompt: str
    status: str
    content: Optional[str]
    usage: Optional[Usage]
    cost: Optional[float]
    error: Optional[str]


@dataclass
class BatchResponse:
    """What became of a batch; results in the order of the prompts."""

    total: int
    completed: int
    failed: int
    results: List[BatchResult]
    total_cost: float
    total_tokens: int


@dataclass
class UsageStats:
    """What a project has used in a period."""

    project_id: str
    period: str
    total_tokens: int
    total_cost: float
    by_model: Dict[str, Dict[str, Union[int, float]]]
    limit: Optional[int]
    remaining: Optional[int]
