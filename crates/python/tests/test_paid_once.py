"""Attempts of one call reach the real service more than once, as the way there breaks; the project pays for one."""

import socket
import threading

import pytest

from claude_code_api import ClaudeClient


class Cutting:
    """A way to the service whose first connections break: of the answer, only the first part gets through."""

    def __init__(self, port, first_part, cuts):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:%d" % self._listener.getsockname()[1]
        self._port, self._first_part, self.cuts = port, first_part, cuts
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._port))
            threading.Thread(target=self._pass, args=(near, far, None), daemon=True).start()
            threading.Thread(target=self._pass, args=(far, near, near), daemon=True).start()

    def _pass(self, source, sink, cut):
        try:
            while True:
                data = source.recv(65536)
                if not data:
                    break
                if cut and self.cuts:
                    self.cuts -= 1
                    sink.sendall(self._first_part(data))
                    break
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self._listener.close()


PARTS = {"nothing": lambda data: b"", "part of the head": lambda data: data[:40], "all but the end": lambda data: data[:-5]}


def used(service, project):
    with ClaudeClient(service.url) as client:
        return client.get_usage(project_id=project)


@pytest.mark.parametrize("way", ["whole", "stream"])
@pytest.mark.parametrize("passed", PARTS)
def test_a_call_whose_answer_was_lost_is_paid_for_once(service, way, passed):
    project = "cut-%s-%s" % (way, passed.replace(" ", "-"))
    cutting = Cutting(service.port, PARTS[passed], cuts=2)
    with ClaudeClient(cutting.url, project_id=project, retry_delay=0.05) as client:
        if way == "whole":
            answer = client.complete("Count to five.", max_tokens=8)
        else:
            with client.stream("Count to five.", max_tokens=8) as stream:
                assert "".join(stream) == stream.text
            answer = stream.response
    cutting.close()
    stats = used(service, project)
    assert cutting.cuts == 0, "the answer was lost twice"
    assert [model["requests"] for model in stats.by_model.values()] == [1]
    assert stats.total_tokens == answer.usage.total_tokens
