"""Short campaigns of every kind of simulated world, and tests of the simulation itself."""

import json
import os
import subprocess
import sys

import pytest
from tests.simulation.campaign import campaign
from tests.simulation.kinds import KINDS, failure_of, name_of, run
from tests.simulation.schedule import Schedule, shrink

pytestmark = pytest.mark.both_backends

#: How many schedules of each kind the suite runs: some seconds.
SHORT = {"asyncio": 300, "session": 600, "threads": 60, "trio": 100}
#: How many it runs in two processes.
REPLAYED = {"asyncio": 20, "session": 20, "threads": 8, "trio": 8}


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_schedules_hold_every_property(kind, part):
    count = SHORT[kind] // 4
    for seed in range(part * count, (part + 1) * count):
        schedule = KINDS[kind].draw(seed)
        failure = failure_of(kind, schedule)
        assert failure is None, f"{failure!r}; python -m tests.simulation --kind {kind} --seed {seed}"


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_seed_runs_the_same_way_in_another_process(kind):
    count = REPLAYED[kind]
    runs = f"(run({kind!r}, KINDS[{kind!r}].draw(n)) for n in range({count}))"
    code = f"from tests.simulation.kinds import *; print(*{runs})"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert output.stdout.split() == " ".join(run(kind, KINDS[kind].draw(seed)) for seed in range(count)).split()


def test_failing_schedule_is_made_smaller():
    entries = [(float(number), 0, "step", number) for number in range(20)]
    schedule = Schedule(1, {"a": 1, "b": 2}, entries, entries)

    def fails(candidate):
        numbers = {number for _, _, _, number in candidate.steps}
        return {3, 7} <= numbers and "b" in candidate.options

    assert shrink(schedule, fails) == Schedule(1, {"b": 2}, [entries[3], entries[7]], [])


def test_campaign_with_a_state_goes_on_where_it_was_stopped(tmp_path, capsys):
    state = tmp_path / "state"
    assert campaign(["session"], 5, 0, 1, state) == 0
    kept = json.loads(state.read_text())
    assert (kept["chunks"], kept["counts"], kept["failures"]) == (1, {"session": 5}, [])
    state.write_text(json.dumps({**kept, "failures": [["session", "lost", 3, 2, "text"]]}))
    assert campaign(["session"], 5, 0, 1, state) == 1  # nothing is left to be run
    assert "5 session schedules, 1 kinds of failures" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="of another campaign"):
        campaign(["trio"], 5, 0, 1, state)


def test_two_listeners_that_both_send_much_go_on_reading():
    options = {"good": True, "window": 4096, "0.api": "listener", "1.api": "listener"}
    steps = [(0.1, 0, "send", (1, 100_000, False, None)), (0.1, 1, "send", (1, 100_000, False, None))]
    run("asyncio", Schedule(1, options, steps))


def test_listener_that_sends_too_much_outside_of_a_read_stops_reading_at_once():
    steps = [(1.0, 0, "send", (0, 70_000, False, None)), (1.1, 0, "send", (0, 65_535, False, None))]
    run("asyncio", Schedule(1, {"window": 4096, "delay": 0.1, "0.api": "listener", "0.patient": False}, steps))


def test_listener_over_tls_that_is_reset_as_it_sends_gets_its_close():
    options = {"1.api": "listener", "tls": True}
    pings = [(0.06, 1, "ping", False)] * 3
    for number in range(40):
        run("asyncio", Schedule(number, options, pings, [(0.06 - 0.00002 * number, 1, "reset", None)]))


def test_client_that_is_cancelled_while_it_writes_its_request_logs_no_error():
    options = {"cut": 20, "lag": 0.001}
    for number in range(40):
        run("asyncio", Schedule(3009197, options, [], [(0.00005 * number, 0, "cancel_main", None)]))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_message_that_is_lost_is_found(kind, monkeypatch):
    end = type(KINDS[kind].world(Schedule(1)).ends[0])
    take, taken = end.take, []

    def take_most(self, *arguments):
        taken.append(1)
        if len(taken) % 10:
            take(self, *arguments)

    monkeypatch.setattr(end, "take", take_most)
    failures = {name_of(failure_of(kind, KINDS[kind].draw(seed))) for seed in range(20)}
    assert failures & {"lost", "mixed"}
