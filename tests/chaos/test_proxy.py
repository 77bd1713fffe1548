"""The proxy before a server that answers each line with its length and the line itself."""

from __future__ import annotations

import socket
import socketserver
import threading
import time

import pytest
from chaos.proxy import Proxy
from journey_machine import wait_until


class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        try:
            for line in self.rfile:
                self.server.heard.append(line)
                self.wfile.write(line)
        except OSError as error:
            self.server.heard.append(type(error).__name__.encode())


@pytest.fixture
def server():
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as made:
        made.heard, made.daemon_threads = [], True
        threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
        yield made
        made.shutdown()


@pytest.fixture
def proxy(server):
    with Proxy(server.server_address[1]) as made:
        yield made


@pytest.fixture
def connect(proxy):
    opened = []

    def connected():
        opened.append(socket.create_connection(("127.0.0.1", proxy.port), timeout=5))
        return opened[-1]

    yield connected
    for each in opened:
        each.close()


def ask(connection, line):
    connection.sendall(line)
    return answer(connection, len(line))


def until(condition):
    wait_until(condition, "the server heard it", 5)


def answer(connection, length):
    """What comes back, up to so many bytes, or until the end."""
    found = b""
    while len(found) < length and (data := connection.recv(length - len(found))):
        found += data
    return found


def test_bytes_pass_both_ways_when_nothing_goes_wrong(connect):
    line = b"x" * 300_000 + b"\n"
    connection = connect()
    threading.Thread(target=connection.sendall, args=(line,), daemon=True).start()
    assert answer(connection, len(line)) == line


def test_a_delay_holds_bytes_back_and_loses_none(proxy, connect):
    fault, connection, started = proxy.fail("delay", seconds=0.3), connect(), time.monotonic()
    assert ask(connection, b"late\n") == b"late\n"
    assert time.monotonic() - started >= 0.3
    assert fault.fired == 1


def test_a_cut_lets_so_many_bytes_up_and_then_ends_both_sides(proxy, connect, server):
    proxy.fail("cut", after=4)
    assert ask(connect(), b"0123456789\n") == b""
    until(lambda: server.heard == [b"0123"])


def test_a_cut_on_the_way_down_leaves_what_the_server_heard(proxy, connect, server):
    proxy.fail("cut", direction="down", after=4)
    assert ask(connect(), b"0123456789\n") == b"0123"
    assert server.heard == [b"0123456789\n"]


def test_a_reset_is_seen_as_one(proxy, connect):
    proxy.fail("reset", direction="down", after=2)
    with pytest.raises(ConnectionResetError):
        ask(connect(), b"0123456789\n")


def test_a_hole_takes_bytes_and_answers_nothing_until_it_is_healed(proxy, connect, server):
    proxy.fail("hole")
    connection = connect()
    connection.sendall(b"lost\n")
    connection.settimeout(0.2)
    with pytest.raises(TimeoutError):
        connection.recv(1)
    proxy.heal()
    connection.settimeout(5)
    with pytest.raises(ConnectionResetError):
        connection.recv(1)
    assert b"lost\n" not in server.heard
    assert ask(connect(), b"well\n") == b"well\n"


def test_bytes_count_from_the_chunk_that_is_looked_for(proxy, connect, server):
    fault = proxy.fail("cut", match=b"POST", after=6)
    quiet, hit = connect(), connect()
    assert ask(quiet, b"GET something long\n") == b"GET something long\n"
    assert ask(hit, b"GET another thing\n") == b"GET another thing\n"
    assert ask(hit, b"POST it\n") == b""
    until(lambda: server.heard[-1:] == [b"POST i"])
    assert (fault.fired, ask(quiet, b"still here\n")) == (1, b"still here\n")


def test_a_client_that_is_reset_resets_the_server_too(connect, server):
    connection = connect()
    assert ask(connection, b"hello\n") == b"hello\n"
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()
    until(lambda: server.heard == [b"hello\n", b"ConnectionResetError"])
