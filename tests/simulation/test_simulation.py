"""Short campaigns of every kind of simulated world, and tests of the simulation itself."""

import json
import os
import subprocess
import sys

import pytest
from tests.simulation.campaign import campaign
from tests.simulation.faults import SESSION_FAULTS
from tests.simulation.kinds import KINDS, failure_of, name_of, run
from tests.simulation.schedule import CheckError, Schedule, shrink
from tests.simulation.wire import KeySource, WireReader

pytestmark = pytest.mark.both_backends

#: How many schedules of each kind the suite runs: some seconds.
SHORT = {"asyncio": 300, "session": 600, "threads": 60, "trio": 100}
#: How many it runs in two processes.
REPLAYED = {"asyncio": 20, "session": 20, "threads": 8, "trio": 8}

#: Faults that every driver shows within 40 schedules.
FOUND_BY_DRIVERS = [
    "a masking key comes twice", "a message is lost", "another close code", "no close_timeout",
    "the client ends TCP first", "the order of close frames is unknown", "the wrong exception",
]  # fmt: skip


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
    assert campaign(["session"], 5, 7, 1, state) == 0
    kept = json.loads(state.read_text())
    assert (kept["counts"], kept["failures"]) == ({"session": 5}, [])
    assert capsys.readouterr().out.startswith("5 session schedules, seeds 7 to 11, on ")
    state.write_text(json.dumps({**kept, "failures": [["session", "lost", 3, 2, "text"]]}))
    assert campaign(["session"], 5, 7, 1, state) == 1  # nothing is left to be run
    assert "5 session schedules, seeds 7 to 11, on " in capsys.readouterr().out
    assert campaign(["session"], 8, 7, 1, state) == 1  # which has more of them
    assert "8 session schedules, seeds 7 to 14, on " in capsys.readouterr().out
    for kinds, first in (["trio"], 7), (["session"], 0):
        with pytest.raises(SystemExit, match="is of a campaign with"):
            campaign(kinds, 8, first, 1, state)
    state.write_text(json.dumps({**kept, "campaign": {**kept["campaign"], "version": "0.0"}}))
    with pytest.raises(SystemExit, match="is of a campaign with version 0.0, not "):
        campaign(["session"], 8, 7, 1, state)


def test_campaign_whose_process_dies_tells_where(tmp_path):
    code = (
        "import os, tests.simulation.kinds as kinds\n"
        "from tests.simulation.campaign import campaign\n"
        "if __name__ == '__mp_main__':\n"
        "    kinds.KINDS['session'] = kinds.Kind(lambda seed: os._exit(3), None)\n"
        "else:\n"
        "    campaign(['session'], 5, 7, 1)\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, timeout=60)
    assert ended.returncode == 1
    assert "a process has died, or took over 900 s, in one of these seeds: session 7 to 11" in ended.stderr


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


def finds(kind, fault, count, monkeypatch):
    """Return whether one of so many schedules fails with the property for a fault."""
    make, names = SESSION_FAULTS[fault]
    make(monkeypatch)
    return any(name_of(failure_of(kind, KINDS[kind].draw(seed))) in names for seed in range(count))


@pytest.mark.parametrize("fault", sorted(SESSION_FAULTS))
def test_fault_of_the_session_is_found(fault, monkeypatch):
    assert finds("session", fault, 400, monkeypatch)


@pytest.mark.parametrize("fault", FOUND_BY_DRIVERS)
@pytest.mark.parametrize("kind", sorted(SHORT.keys() - {"session"}))
def test_fault_of_the_session_is_found_on_a_driver(kind, fault, monkeypatch):
    assert finds(kind, fault, 40, monkeypatch)


@pytest.mark.parametrize("fault", ["no ping_timeout", "no total_timeout", "no max_unsent"])
def test_deadline_or_bound_that_asyncio_ignores_is_found(fault, monkeypatch):
    assert finds("asyncio", fault, 150, monkeypatch)


def masked(first, payload, key):
    return bytes([first, 0x80 | len(payload)]) + key + bytes(a ^ b for a, b in zip(payload, key * 40, strict=False))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\x91\x00", "RSV2"),
        (b"\xc2\x00", "RSV1 without"),
        (b"\x83\x00", "opcode 3"),
        (b"\x8b\x00", "opcode 11"),
        (b"\x02\x00\x82\x00", "within a message"),
        (b"\x80\x00", "a continuation of nothing"),
        (b"\x81\x01\xff", "not UTF-8"),
        (b"\x82\x7e\x00\x7d" + bytes(125), "a length of 125 in 2 bytes"),
        (b"\x82\x7f" + bytes(6) + b"\xff\xff", "a length of 65535 in 8 bytes"),
        (b"\x09\x00", "a control frame"),
        (b"\x89\x7e\x00\x7e" + bytes(126), "a control frame"),
        (b"\x88\x00\x82\x00", "data after a close frame"),
        (b"\x88\x00\x88\x00", "a second close frame"),
        (b"\x88\x01\x03", "a close frame of"),
        (b"\x88\x02\x03\xed", "a close frame of"),
        (b"\x88\x03\x03\xe8\xff", "a close reason"),
        (b"\x82\x80\x00\x00\x00\x00", "a frame of a server is masked"),
    ],
)
def test_reader_of_the_wire_refuses_what_a_server_must_not_write(data, text):
    with pytest.raises(CheckError, match=text):
        WireReader(None, False).feed(data)


def test_reader_of_the_wire_refuses_keys_that_are_not_new():
    keys = KeySource()
    key, reader = keys.urandom(4), WireReader(keys, False)
    with pytest.raises(CheckError, match="is not masked"):
        WireReader(keys, False).feed(b"\x82\x00")
    with pytest.raises(CheckError, match="is not a new one"):
        WireReader(keys, False).feed(masked(0x82, b"a", bytes(4)))
    reader.feed(masked(0x82, b"a", key))
    with pytest.raises(CheckError, match="is not a new one"):
        reader.feed(masked(0x82, b"b", key))


def test_reader_of_the_wire_reads_frames_in_any_cuts():
    keys = KeySource()
    frames = [(0x02, b"ab"), (0x89, b"p"), (0x80, b"c"), (0x81, "é".encode()), (0x8A, b""), (0x88, b"\x03\xe8bye")]
    data = b"".join(masked(first, payload, keys.urandom(4)) for first, payload in frames)
    reader = WireReader(keys, False)
    for start in range(0, len(data), 3):
        reader.feed(data[start : start + 3])
    assert (reader.messages, reader.pings, reader.pongs) == ([b"abc", "é"], [b"p"], [b""])
    assert (reader.close, reader.close_end, reader.between_frames) == ((1000, "bye"), len(data), True)
    assert reader.message_ends == [22, 30]
