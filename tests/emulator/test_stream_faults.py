"""Rules that damage a results stream. A stream read again is whole."""

import json

import httpx2
import pytest


@pytest.fixture
def ended(server, api):
    batch = api.create(6)
    server.advance(60)
    return batch["id"]


@pytest.fixture
def whole(api, ended):
    return api.stream(ended).text.splitlines()


@pytest.fixture
def damaged(server, api, ended, whole):
    """The lines read under a rule; the stream is whole again after it."""

    def read(fault, **more):
        server.rules({"on": "results", "fault": fault, "times": 1, **more}, replace=True)
        text = api.stream(ended).text
        assert api.stream(ended).text.splitlines() == whole
        return text

    return read


def test_a_stream_cut_in_a_line_ends_in_half_a_line(damaged, whole):
    text = damaged("cut_mid_line", lines=2)
    *lines, last = text.splitlines()
    assert lines == whole[:2]
    assert whole[2].startswith(last) and last != whole[2]


def test_a_stream_cut_at_a_line_end_looks_complete(damaged, whole):
    text = damaged("cut_at_line_end", lines=4)
    assert text.splitlines() == whole[:4] and text.endswith("\n")


@pytest.mark.parametrize(
    ("fault", "ending"), [("reset", "clean"), ("cut_at_line_end", "close"), ("cut_mid_line", "reset")]
)
def test_a_stream_that_breaks_is_a_transport_error(server, api, ended, whole, fault, ending):
    server.rules({"on": "results", "fault": fault, "ending": ending, "lines": 3, "times": 1})
    with pytest.raises(httpx2.TransportError):
        api.stream(ended)
    assert api.stream(ended).text.splitlines() == whole


def test_lines_before_a_close_arrive(server, api, ended, whole):
    server.rules({"on": "results", "fault": "cut_at_line_end", "ending": "close", "lines": 3})
    seen = b""
    with (
        pytest.raises(httpx2.RemoteProtocolError),
        api.http.stream("GET", f"/v1/messages/batches/{ended}/results") as answer,
    ):
        for data in answer.iter_raw():
            seen += data
    assert seen.decode().splitlines() == whole[:3]


def test_a_line_can_be_missing(damaged, whole):
    assert damaged("missing_line", lines=1).splitlines() == [whole[0], *whole[2:]]


def test_a_line_can_come_twice(damaged, whole):
    assert damaged("doubled_line", lines=1).splitlines() == [*whole[:2], whole[1], *whole[2:]]


def test_a_line_can_be_of_nobody(damaged, whole):
    lines = damaged("unknown_id", lines=5).splitlines()
    assert json.loads(lines[5])["custom_id"] == "nobody-asked-for-this"
    assert lines[:5] + lines[6:] == whole


def test_a_line_can_be_blank(damaged, whole):
    assert damaged("blank_line", lines=3).splitlines() == [*whole[:3], "", *whole[3:]]


def test_a_long_stream_is_cut_where_it_was_told(server, api):
    batch = api.create(3000)
    server.advance(60)
    server.rules({"on": "results", "fault": "cut_at_line_end", "lines": 2500})
    assert len(api.stream(batch["id"]).text.splitlines()) == 2500
