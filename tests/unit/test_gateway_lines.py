"""`remote.lines()`, the gateway's: results are cut into the same lines however the network cut them into chunks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bakehouse_worker.remote import lines

streams = st.lists(st.sampled_from([b"a", b"{}", b"\xc3\xa9", b"\r", b"\n", b"\r\n", b" ", b"\n\n"]), max_size=30).map(
    b"".join
)
contents = st.lists(
    st.binary(min_size=1, max_size=12).map(lambda raw: b"{" + raw.translate(None, b"\r\n") + b"}"), max_size=8
)
ends = st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\r\n\r\n", b"\n\r\n"])


@st.composite
def cut(draw, stream):
    """A stream in pieces, some of them empty."""
    places = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    return [stream[start:end] for start, end in zip([0, *places], [*places, len(stream)], strict=True)]


@given(streams, st.data())
def test_any_cutting_of_a_stream_gives_the_same_lines(stream, data):
    assert list(lines(iter(data.draw(cut(stream))))) == list(lines(iter([stream])))


@given(streams)
def test_a_stream_that_comes_byte_by_byte_gives_the_same_lines(stream):
    assert list(lines(stream[n : n + 1] for n in range(len(stream)))) == list(lines(iter([stream])))


@given(contents, ends, st.booleans(), st.data())
def test_every_line_comes_once_whole_and_in_order_whatever_its_end(expected, end, last_end, data):
    stream = end.join(expected) + (end if last_end else b"")
    assert list(lines(iter(data.draw(cut(stream))))) == expected


def test_blank_lines_are_left_out():
    assert list(lines(iter([b"\n\r\na\n\n\r\n\nb\r\n\n"]))) == [b"a", b"b"]


def test_a_last_line_without_an_end_is_kept():
    assert list(lines(iter([b"a\nb"]))) == [b"a", b"b"]
    assert list(lines(iter([b"a\r\n", b"b"]))) == [b"a", b"b"]


def test_an_empty_stream_has_no_lines():
    assert list(lines(iter([]))) == []
    assert list(lines(iter([b"", b""]))) == []
    assert list(lines(iter([b"\n", b"\r\n", b"  "]))) == []


def test_a_line_end_cut_in_two_is_one_end():
    assert list(lines(iter([b"a\r", b"\nb\r", b"\n"]))) == [b"a", b"b"]


def test_a_character_cut_in_two_is_whole_again():
    assert list(lines(iter([b'"\xc3', b'\xa9"\n']))) == ['"é"'.encode()]


def test_a_line_over_many_chunks_is_one_line():
    assert list(lines(iter([b"x"] * 1_000 + [b"\ny"]))) == [b"x" * 1_000, b"y"]


def test_a_line_is_told_before_the_next_chunk_is_asked_for():
    asked = []

    def chunks():
        for number in range(3):
            asked.append(number)
            yield b"%d\n" % number

    found = lines(chunks())
    assert asked == []
    assert next(found) == b"0"
    assert asked == [0]
