"""What both clients do with their arguments before the native core sees them."""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple, Union

# One text, or a conversation: [{"role": "user", "content": "..."}, ...], the user's turn last.
Prompt = Union[str, Sequence[Mapping[str, str]]]

# One text, or one with an id that comes back with its result: {"prompt": "...", "id": "..."}.
BatchPrompt = Union[str, Mapping[str, str]]

# What ``auto`` may lose to save money: "economy", "balanced", "quality", or per cent.
Routing = Union[str, float]


class Default(str):
    """A default that shows in the signature, and gives way to the environment, which an argument does not."""


def is_a(value: object, *kinds: type) -> bool:
    """``isinstance``, of which checkers make nothing: a caller's program may hand over what no checker has seen."""
    return isinstance(value, kinds)


def given(value: Optional[str]) -> Optional[str]:
    return None if value is None or isinstance(value, Default) else str(value)


def required(name: str, value: str) -> str:
    if not is_a(value, str):
        raise TypeError(f"{name}: takes a text; it was {value!r:.100}")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{name}: holds half a character, at {error.start}") from None
    return value


def text(name: str, value: Optional[str]) -> Optional[str]:
    return None if value is None else required(name, value)


def real(name: str, value: float) -> float:
    if not hasattr(value, "__float__"):
        raise TypeError(f"{name}: takes a number; it was {value!r:.100}")
    return float(value)


def number(name: str, value: Optional[float]) -> Optional[float]:
    return None if value is None else real(name, value)


def seconds(name: str, value: float) -> float:
    if not real(name, value) > 0:  # NaN is not above anything.
        raise ValueError(f"{name}: takes seconds above 0; it was {value!r}")
    return float(value)


def wait(name: str, value: float) -> float:
    if not real(name, value) >= 0:
        raise ValueError(f"{name}: takes seconds, 0 or more; it was {value!r}")
    return float(value)


def whole(name: str, value: Optional[int], least: int, most: int) -> Optional[int]:
    if value is None:
        return None
    if not hasattr(value, "__index__"):
        raise TypeError(f"{name}: takes a whole number; it was {value!r:.100}")
    if not least <= value <= most:
        raise ValueError(f"{name}: takes {least} to {most}; it was {value!r}")
    return value


def flag(name: str, value: bool) -> bool:
    if not is_a(value, bool):
        raise TypeError(f"{name}: takes True or False; it was {value!r:.100}")
    return value


def _routing(value: Optional[Routing]) -> Optional[str]:
    """What it means is known to the core, which is told in words."""
    if isinstance(value, str):
        return value
    return None if value is None else str(real("routing", value))


def options(
    base_url: Optional[str],
    api_key: Optional[str],
    project_id: Optional[str],
    timeout: float,
    max_retries: int,
    retry_delay: float,
    max_retry_after: float,
) -> Dict[str, Any]:
    return {
        "base_url": given(base_url),
        "api_key": text("api_key", api_key),
        "project_id": given(project_id),
        "timeout": seconds("timeout", timeout),
        "max_retries": whole("max_retries", max_retries, 0, 2**32 - 1),
        "retry_delay": wait("retry_delay", retry_delay),
        "max_retry_after": wait("max_retry_after", max_retry_after),
    }


def call(
    prompt: Prompt,
    model: Optional[str],
    project_id: Optional[str],
    timeout: Optional[float],
    system: Optional[str],
    max_tokens: Optional[int],
    temperature: Optional[float],
    top_p: Optional[float],
    stop_sequences: Optional[Sequence[str]],
    seed: Optional[int],
    max_cost: Optional[float],
    routing: Optional[Routing],
    conversation_id: Optional[str],
    idempotency_key: Optional[str],
    total_timeout: Optional[float] = None,
) -> Dict[str, Any]:
    one, messages = _conversation(prompt)
    if is_a(stop_sequences, str, bytes):
        raise TypeError("stop_sequences: takes a list of texts, not one text")
    return {
        "prompt": one,
        "messages": messages,
        # An enum member of Model is a str; str.__str__ of it would be, too, but not of a caller's own mixture.
        "model": None if model is None else str(model),
        "project_id": given(project_id),
        "timeout": None if timeout is None else seconds("timeout", timeout),
        "total_timeout": None if total_timeout is None else seconds("total_timeout", total_timeout),
        "system": text("system", system),
        "max_tokens": whole("max_tokens", max_tokens, 1, 1_000_000),
        "temperature": number("temperature", temperature),
        "top_p": number("top_p", top_p),
        "stop_sequences": None if stop_sequences is None else [required("stop_sequences", one) for one in stop_sequences],
        "seed": whole("seed", seed, 0, 2**32 - 1),
        "max_cost": number("max_cost", max_cost),
        "routing": _routing(routing),
        "conversation_id": text("conversation_id", conversation_id),
        "idempotency_key": text("idempotency_key", idempotency_key),
    }


def batch(
    prompts: Iterable[BatchPrompt],
    model: Optional[str],
    project_id: Optional[str],
    parallel: bool,
    timeout: Optional[float],
    system: Optional[str],
    max_tokens: Optional[int],
    max_concurrency: Optional[int],
    max_cost: Optional[float],
    routing: Optional[Routing],
    idempotency_key: Optional[str],
    economy: bool = False,
) -> Dict[str, Any]:
    if is_a(prompts, str, bytes, Mapping) or not is_a(prompts, Iterable):
        raise TypeError(f"prompts: takes a list of prompts; it was one {type(prompts).__name__}")
    return {
        "prompts": [_item(index, prompt) for index, prompt in enumerate(prompts)],
        "model": None if model is None else str(model),
        "project_id": given(project_id),
        "parallel": bool(parallel),
        "timeout": None if timeout is None else seconds("timeout", timeout),
        "system": text("system", system),
        "max_tokens": whole("max_tokens", max_tokens, 1, 1_000_000),
        "max_concurrency": whole("max_concurrency", max_concurrency, 1, 1_000),
        "max_cost": number("max_cost", max_cost),
        "routing": _routing(routing),
        "idempotency_key": text("idempotency_key", idempotency_key),
        "economy": flag("economy", economy),
    }


def usage(project_id: Optional[str], period: str) -> Tuple[Optional[str], str]:
    if period not in ("month", "week", "day"):
        raise ValueError(f"period: takes 'month', 'week' or 'day'; it was {period!r}")
    return given(project_id), period


def _conversation(prompt: Prompt) -> Tuple[Optional[str], Optional[List[Tuple[str, str]]]]:
    if isinstance(prompt, str):
        return required("prompt", prompt), None
    if is_a(prompt, bytes, Mapping) or not is_a(prompt, Sequence):
        raise TypeError(f"prompt: takes a text or a list of messages; it was {type(prompt).__name__}")
    return None, [_message(index, message) for index, message in enumerate(prompt)]


def _message(index: int, message: Mapping[str, str]) -> Tuple[str, str]:
    if not is_a(message, Mapping) or set(message) != {"role", "content"}:
        raise TypeError(f'prompt[{index}]: takes {{"role": "user" or "assistant", "content": text}}; it was {message!r:.100}')
    role = message["role"]
    if role not in ("user", "assistant"):
        raise ValueError(f'prompt[{index}]: role: takes "user" or "assistant"; it was {role!r:.100}')
    return role, required(f"prompt[{index}]: content", message["content"])


def _item(index: int, prompt: BatchPrompt) -> Tuple[str, Optional[str]]:
    name = f"prompts[{index}]"
    if isinstance(prompt, str):
        return required(name, prompt), None
    if not is_a(prompt, Mapping) or "prompt" not in prompt or not {"prompt", "id"}.issuperset(prompt):
        raise TypeError(f'{name}: takes a text or {{"prompt": text, "id": text}}; it was {prompt!r:.100}')
    return required(f"{name}: prompt", prompt["prompt"]), text(f"{name}: id", prompt.get("id"))
