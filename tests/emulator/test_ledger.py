"""The ledger: what was accepted and billed, by input."""

import hashlib

import orjson


def _key(params):
    return hashlib.sha256(orjson.dumps(params, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def test_an_input_sent_twice_is_accepted_and_billed_twice(server, api):
    api.of(api.params("once"), api.params("twice"))
    api.of(api.params("twice"))
    server.advance(60)
    assert server.totals() == {"inputs": 2, "accepted": 3, "billed": 3, "accepted_twice": 1, "billed_twice": 1}
    assert server.ledger()[_key(api.params("twice"))] == {"accepted": 2, "billed": 2}


def test_the_order_of_keys_makes_no_other_input(server, api):
    params = api.params("same")
    api.of(params)
    api.of(dict(reversed(params.items())))
    assert server.totals()["accepted_twice"] == 1


def test_what_failed_is_not_billed(server, api):
    server.rules({"on": "result", "fault": "errored", "first_times": 1})
    api.of(api.params("again"))
    server.advance(60)
    api.of(api.params("again"))
    server.advance(60)
    assert server.totals() == {"inputs": 1, "accepted": 2, "billed": 1, "accepted_twice": 1, "billed_twice": 0}


def test_inputs_are_found_by_their_text(server, api):
    api.of(api.params('say "é"'), api.params("other"))
    assert list(server.ledger(prompt='"é"')) == [_key(api.params('say "é"'))]


def test_a_deleted_batch_stays_in_the_ledger(server, api):
    batch = api.create(2)
    server.advance(60)
    api.delete(batch["id"])
    assert server.totals()["billed"] == 2
    assert server.stats()["batches"][0]["deleted"] is True


def test_calls_are_counted_by_endpoint(server, api):
    batch = api.create()
    api.get()
    api.show(batch["id"])
    api.show(batch["id"])
    assert server.stats()["calls"] == {"create": 1, "list": 1, "retrieve": 2}
