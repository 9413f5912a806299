"""What comes out of batches and of usage. Loaded on first use: most programs need none of it, and it takes time to build."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Union

from ._types import Record, Usage


@dataclass(repr=False, eq=False)
class BatchResult(Record):
    """What became of one prompt of a batch."""

    id: Optional[str]
    prompt: str
    status: str
    content: Optional[str]
    usage: Optional[Usage]
    cost: Optional[float]
    error: Optional[str]
    # Beyond the specification: what was wrong, for programs; the exact cost in nano-dollars; id of the call; what ran; the place
    # among the prompts, from 0; how the model was chosen, where it was "auto".
    error_code: Optional[str] = None
    cost_nanos: Optional[int] = None
    call_id: Optional[str] = None
    model: Optional[str] = None
    model_id: Optional[str] = None
    index: int = 0
    route: Optional[Dict[str, Any]] = None


@dataclass(repr=False, eq=False)
class BatchResponse(Record):
    """What became of a batch; results in the order of the prompts."""

    total: int
    completed: int
    failed: int
    results: List[BatchResult]
    total_cost: float
    total_tokens: int
    # Beyond the specification: nano-dollars, exact.
    total_cost_nanos: int = 0


@dataclass(repr=False, eq=False)
class BatchJob(Record):
    """A batch that the service stores, as it was when it was asked for.

    status: "running"; "cancelling", while prompts of a cancelled one still end; "cancelled"; or "ended", when every prompt has its
    result. total_cost_nanos: exact. What ends in _at: RFC 3339; None while it has not come to that. economy: at half price, within 24
    hours.
    """

    id: str
    project_id: str
    status: str
    total: int
    completed: int
    failed: int
    total_cost: float
    total_tokens: int
    total_cost_nanos: int
    created_at: str
    cancelled_at: Optional[str] = None
    ended_at: Optional[str] = None
    expires_at: Optional[str] = None
    economy: bool = False


@dataclass(repr=False, eq=False)
class UsageStats(Record):
    """What a project has used in a period."""

    project_id: str
    period: str
    total_tokens: int
    total_cost: float
    by_model: Dict[str, Dict[str, Union[int, float]]]
    limit: Optional[int]
    remaining: Optional[int]
    # Beyond the specification: nano-dollars, exact; limits in USD; what running calls hold; what calls on a subscription would
    # have cost, in USD; the window, RFC 3339.
    total_cost_nanos: int = 0
    cost_limit: Optional[float] = None
    cost_remaining: Optional[float] = None
    held_tokens: int = 0
    notional_cost: float = 0.0
    period_start: str = ""
    period_end: str = ""
