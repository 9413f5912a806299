"""The Python clients side by side, each case in a process of its own, in turns: what one call, one token, one client takes.

    make bench-client

``socket`` is no client: it sends a request and reads the answer without looking at it. What a client takes beyond that is its
overhead. Times are medians over rounds. CPU is that of the calling process, its threads included.
"""

import asyncio
import contextlib
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import time
from typing import Any, Awaitable, Callable, Dict, List, Sequence

PROMPT = "Write a haiku"
MESSAGES = [{"role": "user", "content": PROMPT}]
BODY = {"model": "haiku", "max_tokens": 100, "messages": MESSAGES}
CLIENTS = ["ours", "anthropic", "openai", "httpx", "socket"]
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
CONCURRENCY = 100
BATCH = 10_000

Figures = Dict[str, float]


# The same call, by each client.


def sync_call(name: str, url: str) -> Callable[[], object]:
    if name == "ours":
        from claude_code_api import ClaudeClient

        client = ClaudeClient(url, api_key="k")
        return lambda: client.complete(PROMPT, model="haiku", max_tokens=100).content
    if name == "anthropic":
        import anthropic

        messages = anthropic.Anthropic(base_url=url, api_key="k").messages
        return lambda: messages.create(**BODY).content[0].text
    if name == "openai":
        import openai

        completions = openai.OpenAI(base_url=url + "/v1", api_key="k").chat.completions
        return lambda: completions.create(**BODY).choices[0].message.content
    if name == "httpx":
        import httpx

        http = httpx.Client(base_url=url)
        return lambda: http.post("/v1/messages", json=BODY).json()["content"][0]["text"]
    connection = socket.create_connection(address(url))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def exchange() -> bytes:
        connection.sendall(REQUEST)
        return connection.recv(65536)

    return exchange


def async_call(name: str, url: str) -> Callable[[], Awaitable[object]]:
    if name == "ours":
        from claude_code_api import AsyncClaudeClient

        client = AsyncClaudeClient(url, api_key="k")
        return lambda: client.complete(PROMPT, model="haiku", max_tokens=100)
    if name == "anthropic":
        import anthropic

        messages = anthropic.AsyncAnthropic(base_url=url, api_key="k").messages
        return lambda: messages.create(**BODY)
    if name == "openai":
        import openai

        completions = openai.AsyncOpenAI(base_url=url + "/v1", api_key="k").chat.completions
        return lambda: completions.create(**BODY)
    if name == "httpx":
        import httpx

        http = httpx.AsyncClient(base_url=url)

        async def post() -> object:
            return (await http.post("/v1/messages", json=BODY)).json()["content"][0]["text"]

        return post
    idle: List[Any] = []

    async def exchange() -> object:
        reader, writer = idle.pop() if idle else await asyncio.open_connection(*address(url))
        writer.write(REQUEST)
        answer = await reader.read(65536)
        idle.append((reader, writer))
        return answer

    return exchange


def streamed(name: str, url: str) -> int:
    """Reads one streamed answer; the number of characters."""
    if name == "ours":
        from claude_code_api import ClaudeClient

        return sum(map(len, ClaudeClient(url).stream(PROMPT)))
    if name == "anthropic":
        import anthropic

        with anthropic.Anthropic(base_url=url, api_key="k").messages.stream(**BODY) as stream:
            return sum(map(len, stream.text_stream))
    if name == "openai":
        import openai

        chunks = openai.OpenAI(base_url=url + "/v1", api_key="k").chat.completions.create(stream=True, **BODY)
        return sum(len(chunk.choices[0].delta.content or "") for chunk in chunks)
    import httpx

    characters = 0
    with httpx.Client(base_url=url) as http, http.stream("POST", "/v1/messages", json=dict(BODY, stream=True)) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: "):
                characters += len(json.loads(line[6:]).get("delta", {}).get("text", ""))
    return characters


def address(url: str) -> Any:
    host, port = url.split("//")[1].split(":")
    return host, int(port)


TEXT = json.dumps(BODY)
HEAD = "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
REQUEST = ((HEAD % len(TEXT)) + TEXT).encode()


# What is measured. Each case runs in a process that has done nothing else.


@contextlib.contextmanager
def measured(figures: Figures, per: int):
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    figures["us"] = (time.perf_counter() - wall) / per * 1e6
    figures["cpu_us"] = (time.process_time() - cpu) / per * 1e6


def calls_of(name: str) -> int:
    return {"ours": 4_000, "socket": 4_000, "httpx": 1_000}.get(name, 400)


def case_sync(name: str, url: str) -> Figures:
    call, figures = sync_call(name, url), {}
    for _ in range(100):
        call()
    with measured(figures, calls_of(name)):
        for _ in range(calls_of(name)):
            call()
    return figures


def case_async(name: str, url: str) -> Figures:
    return asyncio.run(concurrently(name, url, 1, calls_of(name)))


def case_async_100(name: str, url: str) -> Figures:
    return asyncio.run(concurrently(name, url, CONCURRENCY, 4 * calls_of(name)))


async def concurrently(name: str, url: str, workers: int, calls: int) -> Figures:
    call, figures = async_call(name, url), {}

    async def work(count: int) -> None:
        for _ in range(count):
            await call()

    await asyncio.gather(*[work(2) for _ in range(workers)])
    with measured(figures, calls):
        await asyncio.gather(*[work(calls // workers) for _ in range(workers)])
    return figures


def case_stream(name: str, url: str) -> Figures:
    figures: Figures = {}
    streamed(name, url)
    tokens = 20_000
    with measured(figures, tokens):
        assert streamed(name, url) == tokens * 4
    return figures


def case_batch(name: str, url: str) -> Figures:
    """10,000 prompts; where a client has no batch, calls at 100 at a time."""
    figures: Figures = {}
    before = peak_kib()  # of the bare interpreter
    if name == "ours":
        from claude_code_api import ClaudeClient

        with ClaudeClient(url) as client, measured(figures, 1):
            results = client.batch([PROMPT] * BATCH, model="haiku", max_concurrency=CONCURRENCY)
        assert results.completed == BATCH
    else:
        figures = asyncio.run(gathered(name, url))
    figures["peak_mib"] = (peak_kib() - before) / 1024
    return figures


async def gathered(name: str, url: str) -> Figures:
    call, figures, room = async_call(name, url), {}, asyncio.Semaphore(CONCURRENCY)

    async def one() -> object:
        async with room:
            return await call()

    with measured(figures, 1):
        await asyncio.gather(*[one() for _ in range(BATCH)])
    return figures


def case_memory(name: str, url: str) -> Figures:
    """What each of many clients takes, once it has made a call."""
    sync_call(name, url)()
    count, before, begun = 50, resident_kib(), time.perf_counter()
    kept = [sync_call(name, url) for _ in range(count)]
    made = time.perf_counter() - begun
    idle = resident_kib()
    for call in kept:
        call()
    return {"made_ms": made / count * 1e3, "kib": (idle - before) / count, "used_kib": (resident_kib() - before) / count}


def case_import(name: str, _: str) -> Figures:
    """Beyond the parts of the standard library that every typed package needs."""
    import dataclasses, enum, typing  # noqa: E401, F401

    begun = time.perf_counter()
    __import__({"ours": "claude_code_api"}.get(name, name))
    return {"ms": (time.perf_counter() - begun) * 1e3}


def peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def resident_kib() -> int:
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


# The table.


def run(case: str, name: str, url: str) -> Figures:
    """One case in a fresh interpreter, which sees nothing of the caller's settings."""
    environment = {"PATH": os.environ["PATH"], "HOME": os.devnull, "PYTHONDONTWRITEBYTECODE": "1"}
    ended = subprocess.run([sys.executable, __file__, url, case, name], env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(ended.stdout)


def compared(case: str, names: Sequence[str], url: str, rounds: int = ROUNDS) -> Dict[str, Figures]:
    """Medians over the rounds. The clients take turns, so that what disturbs the machine disturbs all of them."""
    taken: Dict[str, List[Figures]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names:
            tell("%s, round %d of %d: %s" % (case, number + 1, rounds, name))
            taken[name].append(run(case, name, url))
    tell("")
    return {
        name: {figure: statistics.median(one[figure] for one in several) for figure in several[0]}
        for name, several in taken.items()
    }


def tell(what: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r%-60s\r" % what)
        sys.stderr.flush()


def show(title: str, rows: Dict[str, Figures], columns: Dict[str, Callable[[Figures], str]], by: str) -> None:
    print("\n%s\n" % title)
    print("| client | %s | × ours |" % " | ".join(columns))
    print("|:--|%s--:|" % ("--:|" * len(columns)))
    for name, row in rows.items():
        cells = [cell(row) for cell in columns.values()]
        ratio = "" if name == "socket" else "%.1f" % (row[by] / rows["ours"][by])
        print("| %s | %s | %s |" % (name, " | ".join(cells), ratio), flush=True)


def show_calls(title: str, rows: Dict[str, Figures]) -> None:
    """A call beside what the bare socket takes for one."""
    columns = {
        "µs a call": lambda row: "%.0f" % row["us"],
        "beyond the socket": lambda row: "%.0f" % (row["us"] - rows["socket"]["us"]),
        "CPU µs": lambda row: "%.0f" % row["cpu_us"],
    }
    show(title, rows, columns, "us")


def main(url: str) -> None:
    clients = CLIENTS[:-1]
    show_calls("**Sync**, one call after the other.", compared("sync", CLIENTS, url))
    show_calls("**Async**, one call after the other.", compared("async", CLIENTS, url))
    show_calls("**Async**, 100 calls at a time.", compared("async_100", CLIENTS, url))
    tokens = {"tokens/s": lambda row: "{:,.0f}".format(1e6 / row["us"]), "CPU µs a token": lambda row: "%.1f" % row["cpu_us"]}
    show("**A stream** of 20,000 tokens, each written by itself.", compared("stream", clients, url), tokens, "us")
    batch = {
        "s": lambda row: "%.2f" % (row["us"] / 1e6),
        "CPU s": lambda row: "%.2f" % (row["cpu_us"] / 1e6),
        "peak MiB": lambda row: "%.0f" % row["peak_mib"],
    }
    show("**10,000 prompts**, 100 at a time.", compared("batch", clients, url, rounds=1), batch, "us")
    memory = {
        "ms to make": lambda row: "%.2f" % row["made_ms"],
        "KiB a client": lambda row: "%.0f" % row["kib"],
        "KiB after a call": lambda row: "%.0f" % row["used_kib"],
    }
    show("**Clients**, 50 of them.", compared("memory", clients, url), memory, "used_kib")
    show("**Import**.", compared("import", clients, url), {"ms": lambda row: "%.1f" % row["ms"]}, "ms")


if __name__ == "__main__":
    if len(sys.argv) == 4:
        case_of = globals()["case_" + sys.argv[2]]
        print(json.dumps(case_of(sys.argv[3], sys.argv[1])))
    else:
        main(sys.argv[1])
