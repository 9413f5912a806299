"""A TCP server whose answers a test writes out: bytes, pauses, resets. It notes every request, and when the peer hung up.

An answer is a list of steps. ``bytes`` are sent, a number is a pause in seconds, a callable gets the connection. One answer is
used up per request, whichever connection it comes on; a request that no answer is left for is noted and refused.
"""

import itertools
import json
import select
import socket
import struct
import threading
import time
from typing import Any, Callable, Dict, List, Union

UNSCRIPTED = b"HTTP/1.1 400 Unscripted\r\nContent-Length: 10\r\n\r\nunscripted"
BOUND = 6.0  # seconds that a test waits for what must happen


class Hangup(Exception):
    """The script of a connection is at its end."""


class Connection:
    def __init__(self, server: "Scripted", peer: socket.socket) -> None:
        self.server, self.peer, self.unread = server, peer, b""
        self.number = next(server.numbers)

    def receive(self) -> None:
        data = self.peer.recv(65536)
        if not data:
            raise Hangup
        self.unread += data

    def request(self) -> "Request":
        while b"\r\n\r\n" not in self.unread:
            self.receive()
        head, self.unread = self.unread.split(b"\r\n\r\n", 1)
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
        length = int(headers.get("content-length", 0))
        while len(self.unread) < length:
            self.receive()
        body, self.unread = self.unread[:length], self.unread[length:]
        method, path, _ = first.split(" ")
        return Request(method, path, headers, json.loads(body) if body else None, self.number)


class Request:
    def __init__(self, method: str, path: str, headers: Dict[str, str], body: Any, connection: int) -> None:
        self.method, self.path, self.headers, self.body, self.connection = method, path, headers, body, connection
        self.at = time.monotonic()


Step = Union[bytes, float, Callable[[Connection], None]]
Answer = List[Step]


class Scripted:
    def __init__(self) -> None:
        self.answers: List[Answer] = []
        self.requests: List[Request] = []
        self.hangups: List[float] = []  # when peers closed connections during hold() and repeat()
        self.failures: List[BaseException] = []
        self.numbers = itertools.count()  # of connections
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = "http://127.0.0.1:%d" % self.port
        self._lock = threading.Lock()
        self._peers: List[socket.socket] = []
        self._open = True
        threading.Thread(target=self._listen, daemon=True).start()

    def script(self, *answers: Answer) -> "Scripted":
        self.answers.extend(answers)
        return self

    def waits(self) -> List[float]:
        """Seconds between one request and the next."""
        return [after.at - before.at for before, after in zip(self.requests, self.requests[1:])]

    def await_requests(self, count: int) -> None:
        until(lambda: len(self.requests) >= count, "request %d reaches the scripted server" % count)

    def await_hangup(self, count: int = 1) -> float:
        until(lambda: len(self.hangups) >= count, "the client closes its connection")
        return self.hangups[count - 1]

    def close(self) -> None:
        self._open = False
        for end in [self._listener, *self._peers]:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()

    def _listen(self) -> None:
        while self._open:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._peers.append(peer)
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        connection = Connection(self, peer)
        try:
            while True:
                request = connection.request()
                with self._lock:
                    self.requests.append(request)
                    answer = self.answers.pop(0) if self.answers else [UNSCRIPTED]
                for step in answer:
                    if isinstance(step, bytes):
                        peer.sendall(step)
                    elif callable(step):
                        step(connection)
                    else:
                        time.sleep(step)
        except (Hangup, OSError):
            pass
        except Exception as failure:
            self.failures.append(failure)
        finally:
            peer.close()


def until(condition: Callable[[], Any], claim: str, bound: float = BOUND) -> Any:
    """Polls until the condition holds; what does not come true within the bound is a failure."""
    end = time.monotonic() + bound
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, "not within %s s: %s" % (bound, claim)
        time.sleep(0.005)


# Steps.


def hang_up(_: Connection) -> None:
    raise Hangup


def reset(connection: Connection) -> None:
    connection.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise Hangup


def hold(connection: Connection) -> None:
    """Says nothing until the peer closes, and notes when it did. A peer that never does is hung up on, and notes nothing."""
    connection.peer.settimeout(BOUND)
    try:
        while connection.peer.recv(65536):
            pass
    except socket.timeout:
        raise Hangup from None
    except OSError:
        pass
    connection.server.hangups.append(time.monotonic())
    raise Hangup


def repeat(data: bytes, every: float) -> Callable[[Connection], None]:
    """Sends the same again and again until the peer closes, and notes when it did."""

    def step(connection: Connection) -> None:
        end = time.monotonic() + BOUND
        try:
            while not select.select([connection.peer], [], [], every)[0]:
                if time.monotonic() > end:
                    raise Hangup
                connection.peer.sendall(data)
        except OSError:
            pass
        hold(connection)

    return step
