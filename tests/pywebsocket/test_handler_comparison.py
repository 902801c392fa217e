"""The comparison of `make handlers`: transcripts, and the verdict on them."""

import importlib.util
import json
from argparse import Namespace
from pathlib import Path

import pytest
from frames import KEY, frame

SEEDS = Path(__file__).parents[1] / "seeds"


@pytest.fixture(scope="module")
def command():
    spec = importlib.util.spec_from_file_location("seeds_handlers", SEEDS / "handlers.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SEEDS))
        spec.loader.exec_module(module)
    return module


HEAD = b"HTTP/1.1 101 Switching Protocols\r\nDate: now\r\nX: 1\r\n\r\n"


def test_transcript_has_headers_and_frames_without_date_and_mask(command):
    data = HEAD + b"\x81\x02hi" + frame(0x82, b"\xff", KEY) + frame(0x01, b"x", form=16) + b"\x81\x05par"
    assert list(command.read_transcript(data)) == [
        "HTTP/1.1 101 Switching Protocols\nX: 1", "81 2:6869", "82 masked 2:ff", "01 4:78", "rest 8105706172",
    ]  # fmt: skip


def test_transcript_of_a_refusal_is_its_status(command):
    for server in (b"Content-Type: text/plain", b"Server: SimpleHTTP/0.6"):
        data = b"raw\r\nHTTP/1.0 404 Not Found\r\nX: 1\r\n" + server + b"\r\n\r\nbody"
        assert list(command.read_transcript(data)) == ["7261770d0a refused with 404"]
    assert list(command.read_transcript(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")) == [
        "HTTP/1.1 401 No\nContent-Length: 0"
    ]


def test_transcript_counts_repeated_frames_up_to_forty(command):
    counts = [len(list(command.read_transcript(HEAD + b"\x81\x01x" * count))) for count in (39, 40, 80)]
    assert counts == [40, 41, 41]


RESULTS = {"/echo": {"a": ["one"], "b": ["two"]}}


@pytest.mark.parametrize(
    ("theirs", "differences", "states"),
    [
        (None, {}, ["same", "same"]),
        (["two"], {}, ["same", "same"]),
        (["other"], {}, ["same", "differs"]),
        (["other"], {"/* / b": "reason"}, ["same", "known"]),
        (["two"], {"/* / b": "reason"}, ["same", "gone"]),
    ],
)
def test_judge_tells_differences_from_known_ones(command, theirs, differences, states):
    reference = theirs and {"/echo": {"a": ["one"], "b": theirs}}
    digests = {path: {name: command.digest(each) for name, each in found.items()} for path, found in RESULTS.items()}
    kept = {"differences": differences, "digests": digests}
    judged, shown = command.judge(RESULTS, reference, kept)
    assert list(judged.values()) == states
    assert bool(shown) is ("differs" in states)
    digests["/echo"]["a"] = ""
    assert command.judge(RESULTS, reference, kept)[0]["/echo / a"] == "same, changed"


@pytest.mark.parametrize(
    ("state", "problems", "status"), [("same", [], 0), ("known", [], 0), ("differs", [], 1), ("same", ["/echo"], 1)]
)
def test_report_gives_the_exit_status(command, capsys, state, problems, status):
    everything = {"folder": {"not loaded": {}, "differences": {}, "digests": {}}}
    arguments = Namespace(update=False)
    reasons = dict.fromkeys(problems, "why")
    found = command.report(arguments, everything, Path("folder"), reasons, {"/echo / a": state}, [], RESULTS)
    assert found == status
    assert "1 handlers" in capsys.readouterr().out


def test_kept_differences_have_reasons_and_match_scenarios(command):
    scenarios = importlib.import_module("scenarios")
    for suite in json.loads((SEEDS / "handlers.json").read_text()).values():
        assert all(suite["differences"].values())
        for path, digests in suite["digests"].items():
            assert list(digests) == sorted(scenario.name for scenario in scenarios.scenarios_for(path))
