"""Benchmarks: run every area with minimal effort; results are checked, times are not."""

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from benchmarks import bench_send, charts, loops, receivers
from benchmarks.__main__ import AREAS, as_json, run, summary
from benchmarks.compiled import load_extension
from benchmarks.environment import describe
from benchmarks.inputs import ALPHABETS, BINARY, cut, frame, text, unframe
from benchmarks.tables import FAST, FLOOR, Goal, Row, Table
from benchmarks.timing import TRIAL, Call, Effort, measure

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def _compiler():
    """Skip without a C compiler: every area compiles its lower bound."""
    try:
        load_extension("floor")
    except Exception as error:
        if os.environ.get("FRAMEWIRE_EXTENSIONS") == "1":
            raise
        pytest.skip(f"the floor cannot be compiled here: {error}")


@pytest.fixture(scope="module")
def tables():
    """Run all areas with a few calls of each contender; return their tables."""
    return {area: run([area], TRIAL) for area in AREAS}


@pytest.mark.parametrize("area", AREAS)
def test_every_area_produces_tables_with_positive_times(tables, area):
    for table in tables[area]:
        assert table.area == area
        assert table.rows
        for row in table.rows:
            assert all(time > 0 for time in row.nanoseconds.values())
            if area not in ("twins", "kernels"):
                assert FLOOR in row.nanoseconds
        assert all(len(line) > 1 for line in table.lines())


def test_every_area_is_listed():
    modules = Path(charts.__file__).parent.glob("bench_*.py")
    programs = {"asyncio", "rooms"}  # they take minutes on two cores
    assert {module.stem.removeprefix("bench_") for module in modules} - programs == set(AREAS)


def test_rooms_are_measured_and_every_message_is_checked():
    command = [sys.executable, "-m", "benchmarks.bench_rooms", "--connections=3", "--rounds=2", "--repeat=1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len([line for line in lines if line.startswith(("broadcast", "publish")) and "framewire" in line]) >= 6
    assert sum("goal" in line for line in lines) >= 3
    assert lines[-1].startswith("2 loops / 1 loop")


@pytest.mark.parametrize("way", [row[0] for row in loops.ROWS])
@pytest.mark.parametrize("threads", [1, 2])
def test_event_loops_are_measured_and_every_message_is_checked(way, threads):
    assert loops.measure(way, threads, 4, 3, 100, 2) > 0


def test_goals_name_existing_columns(tables):
    columns = {name for area in tables.values() for table in area for row in table.rows for name in row.nanoseconds}
    peers = {*receivers.PEERS, *bench_send.PEERS, "tornado", "wsaccel"}
    goals = {goal for area in tables.values() for table in area for row in table.rows for goal in row.goals}
    assert {goal.than for goal in goals} <= columns | peers
    assert {goal.limit for goal in goals} <= columns
    assert {goal.subject for goal in goals} <= columns | {FAST, "send_parts"}


def test_json_and_charts_are_written_for_all_tables(tables, tmp_path):
    everything = [table for area in tables.values() for table in area]
    assert [table["title"] for table in as_json(everything)] == [table.title for table in everything]
    charts.draw(everything, describe(), tmp_path)
    drawn = {path.name for path in tmp_path.iterdir()}
    assert {"decode.svg", "single.svg", "send.svg", "scripts.svg"} <= drawn
    for path in tmp_path.iterdir():
        ElementTree.parse(path)


def test_bars_begin_at_zero_and_share_one_scale():
    chart = charts.Chart("x.svg", "x < y", "", "")
    environment = {"processor": "p", "instruction set": "i", "Python": "3 x", "date": "2026-01-02", "peers": "peer 1.2"}
    svg = charts.bars(chart, Row("", {FAST: 10.0, "peer": 40.0, "far (recorded)": 1.0}), environment)
    root = ElementTree.fromstring(svg)
    rects = root.findall("{http://www.w3.org/2000/svg}rect")
    _, own, peer = ((rect.get("x"), float(rect.get("width"))) for rect in rects)
    assert own[0] == peer[0]
    assert own[1] == pytest.approx(4 * peer[1], abs=0.1)


def test_summary_counts_met_goals_and_lists_missed_ones():
    row = Row("r", {FAST: 10.0, "a": 40.0, FLOOR: 9.0}, (Goal.faster("a", 3), Goal(FLOOR, 1), Goal("missing", 1)))
    assert [(verdict.met, str(verdict)) for verdict in row.verdicts()] == [
        (True, "met    framewire: 4.0x as fast as a, goal 3x"),
        (False, "MISSED framewire: 1.11x the time of floor, goal at most 1x"),
    ]
    table = Table("area", "title", "call", [], rows=[row])
    assert list(summary([table])) == [
        "1 of 2 goals met",
        "  area, title; r: MISSED framewire: 1.11x the time of floor, goal at most 1x",
    ]


def test_missed_goal_is_reported_with_its_limit():
    goals = (Goal.faster("a", 5, limit="least"), Goal.faster("a", 5, limit="bound"), Goal.faster("a", 5))
    row = Row("r", {FAST: 10.0, "a": 40.0, "least": 9.0, "bound": 1.0}, goals)
    assert [str(verdict) for verdict in row.verdicts()] == [
        "MISSED framewire: 4.0x as fast as a, goal 5x; out of reach, the least is 4.4x as fast",
        "MISSED framewire: 4.0x as fast as a, goal 5x; the bound is 40x as fast",
        "MISSED framewire: 4.0x as fast as a, goal 5x",
    ]
    row = Row("r", {FAST: 10.0, "a": 8.0, "least": 9.0}, (Goal("a", 1, limit="least"), Goal("a", 2, limit="least")))
    assert [str(verdict) for verdict in row.verdicts()] == [
        "MISSED framewire: 1.25x the time of a, goal at most 1x; out of reach, the least is 1.12x the time",
        "met    framewire: 1.25x the time of a, goal at most 2x",
    ]


def test_measure_divides_by_the_number_of_messages():
    calls = {"whole": Call(sum, (range(10_000),)), "same": Call(sum, (range(10_000),))}
    effort = Effort(turns=5, seconds=0.001, largest=0)
    whole, tenth = measure(calls, effort)["whole"], measure(calls, effort, per=10)["whole"]
    assert whole > tenth > 0


@pytest.mark.parametrize("script", ALPHABETS)
@pytest.mark.parametrize("size", [1, 64, 125, 1000])
def test_sample_text_has_the_requested_size(script, size):
    assert len(text(script, size).encode()) == size


@pytest.mark.parametrize("size", [0, 125, 126, 0xFFFF, 0x10000])
@pytest.mark.parametrize("key", [b"", b"\x01\x02\x03\x84"])
def test_benchmark_frame_is_decoded_by_unframe(size, key):
    payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
    assert unframe(frame(BINARY, payload, key)) == (0x82, payload)


def test_benchmark_frame_matches_the_masked_hello_of_rfc_6455():
    assert frame(1, b"Hello", bytes.fromhex("37fa213d")) == bytes.fromhex("818537fa213d7f9f4d5158")


def test_cut_splits_the_stream_into_reads():
    assert cut(b"abcdefgh", 3) == [b"abc", b"def", b"gh"]
