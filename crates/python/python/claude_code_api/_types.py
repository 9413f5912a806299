"""What goes in and what comes out: plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar, Dict, Optional


class Model(str, Enum):
    """The models to ask for; a concrete model id may be given as text instead."""

    AUTO = "auto"
    HAIKU = "haiku"
    SONNET = "sonnet"
    OPUS = "opus"

    def __str__(self) -> str:
        return self.value


class Record:
    """What ``@dataclass`` would write for each class anew: as it does so by compiling source, that is half of the import."""

    __dataclass_fields__: Dict[str, Any]

    def __repr__(self) -> str:
        values = (f"{name}={getattr(self, name)!r}" for name in self.__dataclass_fields__)
        return f"{type(self).__name__}({', '.join(values)})"

    def __eq__(self, other: object) -> bool:
        return self.__dict__ == other.__dict__ if type(other) is type(self) else NotImplemented

    __hash__: ClassVar[None] = None  # type: ignore[assignment]


@dataclass(repr=False, eq=False)
class Usage(Record):
    """Tokens of a call. A budget counts ``total_tokens``."""

    input_tokens: int
    output_tokens: int
    total_tokens: int


@dataclass(repr=False, eq=False)
class Cache(Record):
    """Input tokens that went through the prompt cache; part of ``Usage.input_tokens``."""

    creation_input_tokens: int = 0
    read_input_tokens: int = 0


@dataclass(repr=False, eq=False)
class Response(Record):
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
    route: Optional[Dict[str, Any]] = None
    replayed: bool = False
    clamped_max_tokens: Optional[int] = None
