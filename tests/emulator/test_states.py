"""The states of a batch, walked through by stepping the clock."""

DAY = 86_400


def test_counts_stay_in_processing_until_the_whole_batch_ended(server, api):
    batch = api.create(4)
    server.advance(59)
    assert api.show(batch["id"])["request_counts"]["processing"] == 4
    server.advance(2)
    ended = api.show(batch["id"])
    assert ended["processing_status"] == "ended"
    assert ended["request_counts"] == {"processing": 0, "succeeded": 4, "errored": 0, "canceled": 0, "expired": 0}


def test_the_end_is_when_it_was_due_not_when_somebody_looked(server, api):
    batch = api.create()
    server.advance(10_000)
    created, ended = batch["created_at"], api.show(batch["id"])["ended_at"]
    assert created < ended
    assert _seconds(ended) - _seconds(created) in (60, 60 - DAY)


def test_a_clock_that_is_not_stepped_stands_still(server, api):
    assert server.control("GET", "clock")["now"] == server.control("GET", "clock")["now"]


def test_a_fast_clock_ends_a_batch_by_itself(start, call, wait_for):
    api = call(start(speed=600))
    batch = api.create()
    wait_for(lambda: api.show(batch["id"])["processing_status"] == "ended", "the end of the batch")


def test_cancel_keeps_what_ran_and_cancels_the_rest(server, api):
    batch = api.create(10)
    server.advance(30)
    canceling = api.cancel(batch["id"]).json()
    assert canceling["processing_status"] == "canceling"
    assert canceling["request_counts"]["processing"] == 10
    server.advance(5)
    counts = api.show(batch["id"])["request_counts"]
    assert (counts["succeeded"], counts["canceled"]) == (5, 5)
    kinds = [result["type"] for result in api.results(batch["id"]).values()]
    assert sorted(kinds) == ["canceled"] * 5 + ["succeeded"] * 5


def test_a_cancel_that_comes_too_late_cancels_nothing(start, call):
    server = start(canceled_share=0.0)
    api = call(server)
    batch = api.create(3)
    api.cancel(batch["id"])
    server.advance(5)
    ended = api.show(batch["id"])
    assert ended["cancel_initiated_at"] is not None
    assert ended["request_counts"]["succeeded"] == 3
    assert server.totals()["billed"] == 3


def test_cancel_asked_twice_says_the_same(server, api):
    batch = api.create()
    assert api.cancel(batch["id"]).json() == api.cancel(batch["id"]).json()


def test_cancel_of_an_ended_batch_is_an_error_unless_told_otherwise(server, api):
    batch = api.create()
    server.advance(60)
    assert api.cancel(batch["id"]).status_code == 400
    server.options({"cancel_ended_is_error": False})
    assert api.cancel(batch["id"]).json()["processing_status"] == "ended"


def test_after_a_day_the_items_that_did_not_run_expire(start, call):
    server = start(batch_seconds=4 * DAY)
    api = call(server)
    batch = api.create(8)
    server.advance(DAY - 1)
    assert api.show(batch["id"])["processing_status"] == "in_progress"
    server.advance(1)
    counts = api.show(batch["id"])["request_counts"]
    assert (counts["succeeded"], counts["expired"]) == (2, 6)
    assert server.totals()["billed"] == 2


def test_after_29_days_the_batch_is_shown_and_its_results_are_gone(server, api):
    batch = api.create()
    server.advance(29 * DAY - 1)
    assert api.stream(batch["id"]).status_code == 200
    server.advance(1)
    shown = api.show(batch["id"])
    assert shown["archived_at"] is not None and shown["results_url"] is None
    assert api.stream(batch["id"]).status_code == 404


def test_results_before_the_end_are_not_found(api):
    answer = api.stream(api.create()["id"])
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found_error")


def test_a_batch_is_deleted_only_when_it_has_ended(server, api):
    batch = api.create()
    assert api.delete(batch["id"]).status_code == 400
    server.advance(60)
    assert api.delete(batch["id"]).json() == {"id": batch["id"], "type": "message_batch_deleted"}
    assert api.get(batch["id"]).status_code == 404
    assert api.stream(batch["id"]).status_code == 404
    assert api.get().json()["data"] == []


def test_the_results_url_can_be_relative_or_foreign(server, api):
    batch = api.create()
    server.advance(60)
    path = f"/v1/messages/batches/{batch['id']}/results"
    assert api.show(batch["id"])["results_url"] == server.url + path
    server.options({"results_url": "relative"})
    assert api.show(batch["id"])["results_url"] == path
    server.options({"results_url": "https://elsewhere.invalid/"})
    assert api.show(batch["id"])["results_url"] == "https://elsewhere.invalid" + path


def test_result_lines_come_in_another_order_than_the_requests(server, api):
    batch = api.create(50)
    server.advance(60)
    ids = list(api.results(batch["id"]))
    asked = [f"item-{n}" for n in range(50)]
    assert ids != asked and sorted(ids) == sorted(asked)


def _seconds(moment):
    hours, minutes, seconds = moment[11:19].split(":")
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds)
