"""The input of `run`: checked whole, every bad line told by its number, and nothing of it kept in memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bakehouse
import bakehouse_worker
from bakehouse import ConfigurationError
from bakehouse_worker.local import jobfile
from bakehouse_worker.local.jobfile import SPAN

PARAMS = {"model": "claude-haiku-5-5", "max_tokens": 16, "messages": [{"role": "user", "content": "Bonjour"}]}
SOURCES = [str(Path(module.__file__).parents[1]) for module in (bakehouse, bakehouse_worker)]
LONE = b"\\ud83d"  # half of an emoji, as JSON escapes it


def line(custom_id, **params):
    return json.dumps({"custom_id": custom_id, "params": {**PARAMS, **params}}).encode()


@pytest.fixture
def file(tmp_path):
    """Write lines, each with its end, to one file."""
    path = tmp_path / "in.jsonl"

    def write(*lines, end=b"\n"):
        path.write_bytes(b"".join(one + end for one in lines))
        return path

    return write


def nothing_known(custom_ids):
    return {}


def scan(path, *, limit=None, known=None):
    found = jobfile.scan(path, "triage", limit=limit, known=known)
    if known is None:  # lines that nothing is compared with are checked without being built, and told the same of
        assert jobfile.scan(path, "triage", limit=limit, known=nothing_known) == found
    return found


def counts(found):
    return found.total, found.new, found.known, len(found.changed), len(found.bad)


def bad(found):
    return [(one.number, one.reason) for one in found.bad]


def records(found, **options):
    return list(jobfile.lines(found, "triage", limit=options.pop("limit", None), **options))


def digests(path):
    return {record.custom_id: record.digest for record in records(scan(path))}


# Good lines


def test_a_good_file_is_counted_and_read_again_as_records_in_order(file):
    found = scan(file(line("b"), line("a"), line("c", max_tokens=5)))
    assert counts(found) == (3, 3, 0, 0, 0)
    again = records(found)
    assert [one.custom_id for one in again] == ["b", "a", "c"]
    assert [json.loads(one.params)["max_tokens"] for one in again] == [16, 16, 5]
    assert {one.job for one in again} == {"triage"}
    assert list(jobfile.custom_ids(found, limit=None)) == ["b", "a", "c"]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n", b"\r\n\r\n", b" \t\n  \n"])
def test_line_ends_and_blank_lines_change_nothing(file, end):
    found = scan(file(line("a"), line("b"), end=end))
    assert counts(found) == (2, 2, 0, 0, 0)
    assert [one.custom_id for one in records(found)] == ["a", "b"]


def test_a_last_line_without_an_end_is_read(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_bytes(line("a") + b"\n" + line("b"))
    assert counts(scan(path)) == (2, 2, 0, 0, 0)


def test_a_byte_order_mark_is_passed_over(file):
    found = scan(file(b"\xef\xbb\xbf" + line("a"), line("b")))
    assert counts(found) == (2, 2, 0, 0, 0)
    assert list(jobfile.custom_ids(found, limit=None)) == ["a", "b"]


@pytest.mark.parametrize("content", [b"", b"\n", b"\n\r\n  \n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_a_file_of_nothing_has_no_lines(tmp_path, content):
    path = tmp_path / "in.jsonl"
    path.write_bytes(content)
    assert counts(scan(path)) == (0, 0, 0, 0, 0)


def test_the_order_of_a_lines_own_keys_does_not_matter(file):
    one = json.dumps({"params": PARAMS, "custom_id": "a"}).encode()
    assert digests(file(one)) == digests(file(line("a")))


def test_records_are_to_replace_only_if_asked_to(file):
    found = scan(file(line("a")))
    assert not records(found)[0].replace
    assert records(found, replace=True)[0].replace


# Bad lines


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"{", "line: is not JSON"),
        (b"custom_id,params", "line: is not JSON"),
        (line("a") + line("b"), "line: is not JSON"),
        (b'{"custom_id": "a", "params": NaN}', "line: is not JSON"),
        (b'{"custom_id": "a", "params": ' + b"[" * 5_000, "line: is not JSON"),
        (b"null", 'line: is not an object with "custom_id" and "params"'),
        (b"[]", 'line: is not an object with "custom_id" and "params"'),
        (b"{}", "custom_id: is missing"),
        (b'{"custom_id": null, "params": {}}', "custom_id: is missing"),
        (b'{"custom_id": "a"}', "params: is missing"),
        (b'{"custom_id": "a", "params": 5}', "params: must be an object"),
        (b'{"custom_id": "a", "params": {}}', "params.model: is missing"),
        (json.dumps({"custom_id": 5, "params": PARAMS}).encode(), "custom_id: must be text, not int"),
        (line(""), "custom_id: must have 1 to 512 characters, not 0"),
        (line("x" * 513), "custom_id: must have 1 to 512 characters, not 513"),
        (line("a\x00b"), "custom_id: must not contain a NUL"),
        (b'{"custom_id": "' + LONE + b'", "params": {}}', "line: contains a lone surrogate"),
        (line("a").replace(b"Bonjour", LONE), "line: contains a lone surrogate"),
        (line("a", max_tokens=0), "params.max_tokens: must be a whole number of at least 1, not 0"),
        (line("a", messages=[]), "params.messages: must be a list with at least one message"),
        (line("a", stream=True), "params.stream: a batch cannot stream"),
        (line("a", temperature=0.5), "params.temperature: API version"),
        (line("a")[:-1] + b', "method": "POST"}', 'method: is unknown; a line has "custom_id" and "params"'),
        (line("a")[:-1] + b', "metadata": {}}', 'metadata: is unknown; a line has "custom_id" and "params"'),
    ],
)
def test_a_bad_line_is_told_with_its_number_and_reason_and_the_others_are_read(file, raw, reason):
    found = scan(file(line("before"), b"", raw, line("after")))
    assert counts(found) == (2, 2, 0, 0, 1)
    number, said = bad(found)[0]
    assert number == 3
    assert said.startswith(reason)
    assert "\n" not in said
    assert [one.custom_id for one in records(found)] == ["before", "after"]
    assert list(jobfile.custom_ids(found, limit=None)) == ["before", "after"]


@given(st.lists(st.booleans(), max_size=30))
def test_every_bad_line_is_told_and_no_good_one(tmp_path_factory, good):
    path = tmp_path_factory.mktemp("lines") / "in.jsonl"
    path.write_bytes(b"\n".join(line(str(n)) if fine else b"{" for n, fine in enumerate(good)))
    found = scan(path)
    assert [one.number for one in found.bad] == [n for n, fine in enumerate(good, 1) if not fine]
    assert found.bad_numbers == frozenset(one.number for one in found.bad)
    assert [one.custom_id for one in records(found)] == [str(n) for n, fine in enumerate(good) if fine]
    assert found.total == found.new == sum(good)


def test_a_reason_does_not_repeat_the_prompt(file):
    secret = "the patient's name is"
    content = [{"role": "user", "content": secret}]
    found = scan(
        file(line("a", messages=content)[:-1], line("b", messages=content, stream=True), line("c", messages=secret))
    )
    assert len(found.bad) == 3
    assert all(secret not in one.reason for one in found.bad)


# Doubles


def test_a_custom_id_that_comes_again_is_told_with_the_line_it_came_in_first(file):
    found = scan(file(line("a"), line("b"), line("a"), line("c"), line("a", max_tokens=5)))
    assert counts(found) == (3, 3, 0, 0, 2)
    assert bad(found) == [(3, "custom_id: the same as in line 1"), (5, "custom_id: the same as in line 1")]
    assert [one.custom_id for one in records(found)] == ["a", "b", "c"]


def test_doubles_far_apart_and_over_spans_are_found(file):
    many = [line(str(n)) for n in range(2 * SPAN + 10)]
    many += [line("0"), line(str(SPAN)), line("new")]
    found = scan(file(*many))
    assert bad(found) == [
        (2 * SPAN + 11, "custom_id: the same as in line 1"),
        (2 * SPAN + 12, f"custom_id: the same as in line {SPAN + 1}"),
    ]
    assert (found.total, found.new) == (2 * SPAN + 11, 2 * SPAN + 11)


def test_a_double_is_left_out_of_every_count_whatever_the_store_knows_of_it(file):
    held = digests(file(line("known"), line("changed")))
    doubled = [
        line("known"),
        line("known"),
        line("known", max_tokens=5),
        line("changed", max_tokens=5),
        line("changed"),
    ]
    found = scan(file(*doubled, line("new"), line("new")), known=lambda ids: held)
    assert counts(found) == (3, 1, 1, 1, 4)
    assert found.changed == [(4, "changed")]
    assert [one.number for one in found.bad] == [2, 3, 5, 7]
    assert [one.custom_id for one in records(found)] == ["known", "changed", "new"]


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from([16, 17])), max_size=12),
    st.sets(st.sampled_from("abc")),
)
def test_the_counts_always_add_up_to_the_lines_that_will_be_sent(tmp_path_factory, made, held):
    path = tmp_path_factory.mktemp("lines") / "in.jsonl"
    path.write_bytes(b"".join(line(custom_id) + b"\n" for custom_id in sorted(held)))
    known = digests(path)
    path.write_bytes(b"".join(line(custom_id, max_tokens=limit) + b"\n" for custom_id, limit in made))
    found = scan(path, known=lambda ids: known)
    good = records(found)
    assert [one.custom_id for one in good] == list(dict.fromkeys(custom_id for custom_id, _ in made))
    assert found.total == len(good) == found.new + found.known + len(found.changed)
    assert found.known == sum(known.get(one.custom_id) == one.digest for one in good)
    assert found.new == sum(one.custom_id not in known for one in good)
    assert len(found.bad) == len(made) - len(good)


def test_ids_that_only_look_alike_are_no_doubles(file):
    found = scan(file(line("a"), line("A"), line("a "), line(" a"), line("á"), line("a\u0301")))
    assert counts(found) == (6, 6, 0, 0, 0)


def test_bad_lines_and_doubles_are_told_in_the_order_of_the_file(file):
    found = scan(file(line("a"), line("a"), b"{", line("b"), line("b"), b"["))
    assert [one.number for one in found.bad] == [2, 3, 5, 6]


def test_a_bad_line_is_nobodys_double(file):
    found = scan(file(line("a", max_tokens=0), line("a"), line("a", stream=True)))
    assert [one.number for one in found.bad] == [1, 3]
    assert counts(found) == (1, 1, 0, 0, 2)


# Limit


@pytest.mark.parametrize(("limit", "read"), [(0, 0), (1, 1), (3, 3), (4, 4), (100, 4)])
def test_the_limit_counts_lines_that_are_not_blank(file, limit, read):
    path = file(line("0"), b"", line("1"), line("2"), b" ", line("3"))
    found = scan(path, limit=limit)
    assert counts(found) == (read, read, 0, 0, 0)
    assert len(records(found, limit=limit)) == read
    assert len(list(jobfile.custom_ids(found, limit=limit))) == read


def test_what_lies_behind_the_limit_is_not_judged(file):
    assert counts(scan(file(line("0"), line("1"), line("0"), b"{"), limit=2)) == (2, 2, 0, 0, 0)


def test_a_bad_line_counts_for_the_limit(file):
    assert counts(scan(file(b"{", line("0"), line("1")), limit=2)) == (1, 1, 0, 0, 1)


# Known, new, changed


def test_new_known_and_changed_lines_are_counted_against_the_store(file):
    held = digests(file(line("same"), line("changed")))
    found = scan(file(line("new"), line("same"), line("changed", max_tokens=5)), known=lambda ids: held)
    assert counts(found) == (3, 1, 1, 1, 0)
    assert found.changed == [(3, "changed")]


def test_the_same_params_in_other_white_space_are_the_same(file):
    held = digests(file(line("a")))
    spaced = json.dumps({"custom_id": "a", "params": PARAMS}, indent=None, separators=(" ,  ", " :  ")).encode()
    assert counts(scan(file(spaced), known=lambda ids: held)) == (1, 0, 1, 0, 0)


def test_the_store_is_asked_in_spans_about_every_line_once(file):
    asked = []

    def known(custom_ids):
        asked.append(list(custom_ids))
        return {}

    scan(file(*[line(str(n)) for n in range(2 * SPAN + 1)], b"{"), known=known)
    assert [len(span) for span in asked] == [SPAN, SPAN, 1]
    assert [custom_id for span in asked for custom_id in span] == [str(n) for n in range(2 * SPAN + 1)]


def test_the_store_is_not_asked_about_nothing(file):
    def known(custom_ids):
        raise AssertionError("asked")

    assert counts(scan(file(b"{"), known=known)) == (0, 0, 0, 0, 1)


# The file itself


def test_a_file_that_is_not_there_or_is_a_directory_is_told_by_its_path(tmp_path):
    with pytest.raises(ConfigurationError, match=r"none\.jsonl cannot be read: no such file"):
        scan(tmp_path / "none.jsonl")
    with pytest.raises(ConfigurationError, match="is a directory; give a file"):
        scan(tmp_path)


def test_a_file_that_changed_after_the_scan_is_refused(file):
    path = file(line("a"))
    found = scan(path)
    file(line("a"), line("b"))
    with pytest.raises(ConfigurationError, match="changed while it was read"):
        records(found)


def test_a_file_rewritten_to_the_same_length_is_noticed_by_its_time(file):
    path = file(line("a"))
    found = scan(path)
    file(line("b"))
    os.utime(path, ns=(0, found.fingerprint[0] + 1))
    with pytest.raises(ConfigurationError, match="changed while it was read"):
        records(found)


def test_the_default_job_is_named_for_the_file_and_its_place(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    one, other = jobfile.default_job(tmp_path / "in.jsonl"), jobfile.default_job(tmp_path / "a" / "in.jsonl")
    assert one != other
    assert one.startswith("in-")
    monkeypatch.chdir(tmp_path)
    assert jobfile.default_job(Path("in.jsonl")) == jobfile.default_job(Path("a/../in.jsonl")) == one
    assert len(jobfile.default_job(Path("x" * 250 + ".jsonl"))) <= 128


# Memory

MEASURE = """
import resource, sys
from pathlib import Path
from bakehouse_worker.local import jobfile
unit = 1 if sys.platform == "darwin" else 1024
few, many = Path(sys.argv[1]), Path(sys.argv[2])
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
jobfile.scan(few, "triage", limit=None, known=lambda ids: {})
before = peak()
found = jobfile.scan(many, "triage", limit=None, known=lambda ids: {})
print(found.total, peak() - before)
"""


def test_a_file_of_200_000_lines_costs_less_than_30_mb(tmp_path):
    few, many = tmp_path / "few.jsonl", tmp_path / "many.jsonl"
    few.write_bytes(b"".join(line(str(n)) + b"\n" for n in range(SPAN + 1)))
    many.write_bytes(b"".join(line(str(n)) + b"\n" for n in range(200_000)))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(SOURCES)}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, few, many], capture_output=True, text=True, env=environment, check=True
    )
    total, grown = map(int, done.stdout.split())
    assert total == 200_000
    assert grown < 30_000_000
