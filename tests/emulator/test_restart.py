"""An emulator with a state directory goes on after a kill as if nothing had been."""


def test_a_killed_emulator_knows_its_batches_ledger_clock_and_script(tmp_path, spawn, call):
    arguments = ("--state", str(tmp_path / "state"), "--speed", "0")
    process, server = spawn(*arguments)
    api = call(server)
    ended, running = api.create(3), None
    server.advance(100)
    running = api.of(api.params("again"), api.params("Hello 1"))
    server.rules({"on": "list", "fault": "empty", "times": 3}, {"on": "create", "fault": "overloaded"})
    server.options({"retry_after": 44})
    api.get()
    results, now = api.results(ended["id"]), server.control("GET", "clock")["now"]
    process.kill()
    process.wait()

    _, server = spawn(*arguments)
    api = call(server)
    assert server.control("GET", "clock")["now"] == now
    assert api.show(running["id"])["processing_status"] == "in_progress"
    assert api.results(ended["id"]) == results
    assert [rule["fired"] for rule in server.script()] == [1, 0]
    assert server.control("GET", "options")["retry_after"] == 44
    server.advance(60)
    assert len(api.results(running["id"])) == 2
    assert server.totals() == {"inputs": 4, "accepted": 5, "billed": 5, "accepted_twice": 1, "billed_twice": 1}


def test_the_clock_of_a_killed_emulator_ran_on_meanwhile(tmp_path, spawn):
    arguments = ("--state", str(tmp_path / "state"), "--speed", "1000000")
    process, server = spawn(*arguments)
    before = server.control("GET", "clock")["now"]
    process.kill()
    process.wait()
    _, server = spawn(*arguments)
    assert server.control("GET", "clock")["now"] > before + 1000


def test_a_script_file_already_played_is_not_played_again(tmp_path, spawn, call):
    script = tmp_path / "script.json"
    script.write_text('{"rules": [{"on": "list", "fault": "overloaded", "times": 1}], "options": {"batch_seconds": 5}}')
    arguments = ("--state", str(tmp_path / "state"), "--script", str(script))
    process, server = spawn(*arguments)
    assert server.control("GET", "options")["batch_seconds"] == 5
    assert call(server).get().status_code == 529
    process.kill()
    process.wait()
    _, server = spawn(*arguments)
    assert call(server).get().status_code == 200
    assert server.script()[0]["fired"] == 1
