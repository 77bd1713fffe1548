"""The gateway before something that is not the Messages API: it says so in one sentence, whatever came."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bakehouse_worker.errors import Unanswered
from bakehouse_worker.gateway import Gateway


class Says(BaseHTTPRequestHandler):
    """Answers everything with the server's `answer`."""

    def do_GET(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.send_response(200)
        self.send_header("content-length", str(len(self.server.answer)))
        self.end_headers()
        self.wfile.write(self.server.answer)

    do_POST = do_GET

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def server(monkeypatch):
    with ThreadingHTTPServer(("127.0.0.1", 0), Says) as server:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("ANTHROPIC_API_KEY", "test")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


ASKING = {
    "list": lambda gateway: gateway.newest(),
    "retrieve": lambda gateway: gateway.retrieve("msgbatch_1"),
    "cancel": lambda gateway: gateway.cancel("msgbatch_1"),
    "create": lambda gateway: gateway.create(iter([b"{}"]), 2, (), "2023-06-01"),
}
ODD = [
    b'{"id": "msgbatch_1"}',
    b'{"data": [{"id": "msgbatch_1"}]}',
    b'{"data": [1]}',
    b'{"data": 7}',
    b'{"id": 1, "request_counts": [1], "processing_status": "ended", "created_at": "x", "data": [{"request_counts": 7}]}',
    b"[]",
    b"<html>",
]


@pytest.mark.parametrize("answer", ODD)
@pytest.mark.parametrize("asking", ASKING)
def test_an_answer_that_is_no_batch_is_none_and_says_what_to_look_at(server, asking, answer):
    server.answer = answer
    gateway = Gateway(1.0)
    with pytest.raises(Unanswered, match="is this the Messages API"):
        ASKING[asking](gateway)
    gateway.close()
