"""The figures of the documentation, and the charts, are those of benchmarks/*.json."""

import json
import re
import subprocess

import pytest
from benchmarks import bench_asyncio, charts, pages, proof
from benchmarks.results import put
from benchmarks.tables import FLOOR_SERVER
from documents import ROOT

RESULTS = json.loads(pages.RESULTS.read_text())
CAMPAIGNS = json.loads(proof.RESULTS.read_text())
#: Lines of the output of campaigns, and what they count.
OUTPUTS = {
    "autobahn": (
        "server fast 1.*: 16 OK in 0.1 s\nclient pure 7.*: 3 INFORMATIONAL, 24 OK in 1.0 s",
        {"cases OK": 40, "cases INFORMATIONAL": 3},
    ),
    "microhttpd": (
        "  test function cases passed failed known bugs\n  test_decode 10 9 1 1\n  total 10 9 1 1\n  total 10 9 1 1",
        {"cases": 20, "passed": 18, "known bugs of libmicrohttpd_ws": 2},
    ),
    "handlers": (
        "12 handlers, 1 not loaded, 40 scenarios: 3 known, 37 same",
        {"handlers": 12, "scenarios": 40, "the same": 37},
    ),
    "wpt": (
        "websockets/a   1 pages     2 passed    0 others\nall   4 pages    20 passed    3 others",
        {"pages": 4, "subtests passed": 20, "others": 3},
    ),
    "upstream": (
        "wsproto 1.2: 50 tests, 49 pass without framewire, the same with it",
        {"tests": 50, "passed without framewire": 49},
    ),
    "parity": (
        "| part | run | passed |\n|---|---|---|\n| sync | 30 | 28 | 2 |\n| trio | 12 | 12 | 0 |",
        {"tests": 42, "passed": 40},
    ),
    "interop": ("{'websockets': 20, 'node ws': 10} exchanges, 0 failures, 3 s", {"exchanges": 30}),
    "simulate": (
        "5 asyncio, 5 session; 9 a second\n"
        + "10 asyncio, 11 session, 12 threads, 13 trio schedules, seeds 7 to 99, on fast, 0 kinds of failures\n" * 2,
        {
            "schedules on session": 22,
            "schedules on asyncio": 20,
            "schedules on threads": 24,
            "schedules on trio": 26,
            "seeds": "7 to 99",
        },
    ),
    "symbolic": (
        "a: info: Confirmed over all paths.\nb: info: Confirmed over all paths.\n"
        "test \"$(grep -c 'Confirmed over all paths' report)\" = 2",  # make prints its command too
        {"lemmas confirmed": 2},
    ),
    "fuzz-kernels": ("stat::number_of_executed_units: 100\nstat::number_of_executed_units: 11", {"executions": 111}),
    "mutants": (
        "session: 20 mutants, 17 killed, 3 equivalent, 0 survive\n_pure: 5 mutants, 5 killed, 0 equivalent, 0 survive",
        {"mutants": 25, "killed": 22, "equivalent": 3},
    ),
    "mutants-kernels": (
        "100 of 200, 3 survivors\n200 mutants, 9 do not compile, 7 survive",
        {"mutants": 200, "refused by the compiler": 9, "equivalent": 7},
    ),
    "asan": ("=== 8928 passed, 3 skipped in 10.0s ===", {"tests passed": 8928}),
    "valgrind": ("stream: 10 seeds\nutf8: 5 seeds", {"seeds": 15}),
    "leaks": (
        "100 connections: 1 objects, 0 references, 3.4 bytes for each are left",
        {"connections": 100, "objects left": 1, "bytes left for each": 3.4},
    ),
    "qemu": ("aarch64: plain neon\nriscv64: plain", {"processors": 2}),
    "qemu-twins": ("aarch64:\n6083 passed in 9s\naarch64: 600 s", {"machines": 1, "tests passed": 6083}),
    "soak": (
        "10 connections, 200 messages checked, 3 cancelled\n5 connections, 7 messages checked, 1 cut",
        {"connections": 15, "messages checked": 207},
    ),
}


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.name)
def test_page_has_the_measured_figures(page):
    text = page.read_text()
    assert "<!-- figures: " in text
    assert pages.fill(text, pages.sections(RESULTS, CAMPAIGNS)) == text


def test_charts_have_the_measured_figures(tmp_path):
    pages.draw_all(RESULTS, tmp_path)
    drawn = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert drawn == {path.name: path.read_text() for path in pages.CHART_FOLDER.glob("*.svg")}
    assert drawn.keys() == {chart.file for chart in charts.CHARTS}


def test_servers_have_a_table_for_each_loop_and_a_chart(tmp_path):
    row = {"loop": "uvloop", "load": "echo 50 x 256 B", "unit": "us", "figures": {"callback": 4.0, "picows": 5.0}}
    idle = {"loop": "uvloop", "load": "idle 1500", "unit": "KiB", "figures": {"callback": 3.96, "picows": None}}
    ratio = {"loop": "uvloop", "load": "idle 1500: slowest / fastest", "unit": "ratio", "figures": {"callback": 1.1}}
    about = {**RESULTS["environment"], "peers": "picows 9.8"}
    results = {"environment": about, "tables": [], "servers": {"environment": about, "rows": [row, idle, ratio]}}
    assert pages.sections(results, {})["servers-uvloop"].splitlines() == [
        "| | echo 50 x 256 B, us | idle 1500, KiB |",
        "|---|---|---|",
        "| framewire, callbacks | 4 | 3.96 |",
        "| picows 9.8 | 5 | failed |",
    ]
    pages.draw_all(results, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["servers.svg"]
    chart = (tmp_path / "servers.svg").read_text()
    assert chart.index("framewire, callbacks") < chart.index("0.25<") < chart.index("picows 9.8") < chart.index("0.2<")


def test_goals_of_servers_have_the_ratio_and_those_of_the_floor_and_of_a_bare_protocol():
    callback = {"callback": 5.0, "bare_callback": 4.0, "picows": 4.0, "bun": 4.5}
    rows = [
        {"loop": "uvloop", "load": "echo 50 x 256 B", "unit": "us", "figures": {**callback, FLOOR_SERVER: 2.0}},
        {"loop": "asyncio", "load": "echo 50 x 256 B", "unit": "us", "figures": callback},
        {"loop": "uvloop", "load": "echo 1 x 16 B", "unit": "us", "figures": callback},
        {"loop": "uvloop", "load": "idle 1500", "unit": "KiB", "figures": {"coroutine": 5.0}},
        {"loop": "asyncio", "load": "idle 1500", "unit": "KiB", "figures": {"coroutine": 6.5}},
        *(
            {"loop": loop, "load": "echo 4 x 1 MiB: slowest / fastest", "unit": "ratio", "figures": ratios}
            for loop, ratios in (("uvloop", {**callback, "callback": 1.1}), ("asyncio", {"callback": 1.4}))
        ),
        *(
            {"loop": loop, "load": "open", "unit": "us", "figures": {"callback": None, "picows": 4.0, "coroutine": 1.0}}
            for loop in ("uvloop", "asyncio")
        ),
    ]
    environment = {**RESULTS["environment"], "peers": "picows 9.8"}
    ours = "| echo 50 x 256 B | framewire, callbacks /"
    assert list(pages.goals({"environment": environment, "rows": rows})) == [
        "| load | ratio | goal | uvloop | floor | bare | asyncio | floor | bare |",
        "|---|---|---|---|---|---|---|---|---|",
        f"{ours} picows 9.8 | 1.05 | 1.25, missed | 0.50 | 1.00 | 1.25, missed | | 1.00 |",
        "| echo 4 x 1 MiB: slowest / fastest | framewire, callbacks | 1.30 | 1.10 | | 4.00 | 1.40, missed | | |",
        "| open | framewire, callbacks / picows 9.8 | 1.00 | inf, missed | | | inf, missed | | |",  # it failed
        f"{ours} Bun | 1.15 | 1.11 | 0.44 | 0.89 | 1.11 | | 0.89 |",
        "| idle 1500 | framewire, coroutines | 6.00 | 5.00 | | | 6.50, missed | | |",
    ]


def test_every_goal_of_servers_was_measured_on_both_event_loops():
    measured = [line.split(" | ") for line in [*pages.goals(RESULTS["servers"])][2:]]
    assert len(measured) == len(bench_asyncio.GOALS)
    assert {row["loop"] for row in RESULTS["servers"]["rows"]} == {"uvloop", "asyncio"}


@pytest.mark.parametrize(("change", "kept"), [({}, True), ({"date": "2025-01-01"}, True), ({"peers": "ws 2"}, False)])
def test_servers_keep_the_rows_of_other_loads_of_the_same_machine_and_versions(change, kept):
    def table(environment, *figures):
        rows = [{"loop": "uvloop", "load": load, "unit": "us", "figures": {"callback": cost}} for load, cost in figures]
        return {"environment": environment, "rows": rows}

    about = {"date": "2026-01-02", "processor": "x", "peers": "ws 1"}
    old = table({**about, **change}, ("echo", 1.0), ("open", 2.0))
    rest = [("open", 2.0)] if kept else []
    assert bench_asyncio.merge(old, table(about, ("echo", 3.0))) == table(about, ("echo", 3.0), *rest)


def test_benchmarks_keep_the_parts_of_others(tmp_path):
    put(tmp_path / "folder" / "results.json", one=1, two=[2])
    put(tmp_path / "folder" / "results.json", two=[3])
    assert json.loads((tmp_path / "folder" / "results.json").read_text()) == {"one": 1, "two": [3]}


def test_figures_name_versions_and_date():
    results = {
        "environment": {"date": "2026-01-02", "peers": "websockets 1.2"},
        "tables": [
            {
                "area": "decode", "title": "one masked message in each read", "per": "message", "notes": [],
                "rows": [
                    {
                        "label": "text, 16 B", "size": 16,
                        "nanoseconds": {"framewire": 100.0, "websockets py": 1000.0, "far (recorded)": 1.0},
                    }
                ],
            }
        ],
    }  # fmt: skip
    page = (
        "before\n<!-- figures: single -->\nold\n<!-- end of figures -->\n"
        "after\n<!-- figures: environment -->\n<!-- end of figures -->"
    )
    filled = pages.fill(page, pages.sections(results, {}))
    assert "old" not in filled
    assert "| framewire | 10 |  |\n| websockets 1.2, pure Python | 1 | 10x as fast |\n" in filled
    assert "| date | 2026-01-02 |" in filled
    assert filled.startswith("before\n")
    assert "\nafter\n" in filled


@pytest.mark.parametrize("campaign", OUTPUTS)
def test_counts_are_those_of_the_output(campaign):
    output, counts = OUTPUTS[campaign]
    assert proof.count(campaign, output) == counts


def test_every_campaign_is_a_target_whose_counts_are_tested():
    rules = "".join(ROOT.joinpath(name).read_text() for name in ("Makefile", "proof.mk"))
    assert proof.CAMPAIGNS.keys() <= set(re.findall(r"^([\w-]+):", rules, re.MULTILINE))
    tested = [proof.CAMPAIGNS[campaign] for campaign in OUTPUTS]
    assert [name for name, patterns in proof.CAMPAIGNS.items() if patterns not in tested] == []


def test_row_of_a_campaign_has_its_command_and_no_path_of_this_machine():
    row = proof.row("wpt", ["SUITE=/home/me/wpt", "PARTS=a/ b/"], OUTPUTS["wpt"][0], "abc")
    assert row["command"] == "make wpt SUITE=PATH PARTS=a/ b/"
    (*_, line) = proof.lines({"wpt": {**row, "date": "2026-01-02"}})
    assert line == "| `make wpt SUITE=PATH PARTS=a/ b/` | 4 pages, 20 subtests passed, 3 others | 2026-01-02 | abc |"
    seeds = {**row, "counts": {"seeds": "0 to 9"}}
    rows = {proof.key("simulate", ["A=1", *each]): seeds for each in ([], ["KINDS=x", "FIRST=9"])}
    assert list(rows) == ["simulate", "simulate KINDS=x FIRST=9"]
    assert [line.split(" | ")[1] for line in [*proof.lines(rows)][2:]] == ["seeds 0 to 9"] * 2
    with pytest.raises(ValueError, match="counts nothing"):
        proof.row("wpt", [], "nothing", "abc")


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with a campaign, in place of this one: give a function that commits, and its folder."""
    monkeypatch.setattr(proof, "ROOT", tmp_path)

    def git(*words):
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        command = ["git", *identity, *words]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.strip()

    def commit(name, text):
        tmp_path.joinpath(name).parent.mkdir(exist_ok=True)
        tmp_path.joinpath(name).write_text(text)
        git("add", ".")
        git("commit", "--quiet", "--message", name)
        return git("rev-parse", "--short", "HEAD")

    git("init", "--quiet")
    return commit, tmp_path


def test_row_is_that_of_a_campaign_that_passes_on_the_commit_it_names(repository):
    commit, _ = repository
    tree = commit("Makefile", "asan:\n\t@echo '=== 12 passed in 1s ==='\n\t@mkdir -p docs && echo x > docs/a.md\n")
    row = proof.run("asan", [])
    assert (row["tree"], row["counts"]) == (tree, {"tests passed": 12})


def test_no_row_is_made_of_a_campaign_that_fails(repository):
    commit, _ = repository
    commit("Makefile", "asan:\n\t@echo '=== 12 passed in 1s ==='\n\t@false\n")
    assert proof.run("asan", []) is None


@pytest.mark.parametrize("name", ["Makefile", "tests/new.py"])
def test_no_row_is_made_of_a_tree_with_changes(repository, name):
    commit, root = repository
    commit("tests/old.py", "")
    commit("Makefile", "asan:\n\t@echo '=== 12 passed in 1s ==='\n")
    with root.joinpath(name).open("a") as file:
        file.write("\n# changed")
    with pytest.raises(ValueError, match=f"not the tree .*: {name} have changes"):
        proof.run("asan", [])


def test_no_row_is_made_of_a_tree_that_changes_meanwhile(repository):
    commit, _ = repository
    commit("tests/old.py", "")
    commit("Makefile", "asan:\n\t@echo '=== 12 passed in 1s ==='\n\t@echo x > tests/old.py\n")
    with pytest.raises(ValueError, match="tests/old.py have changed meanwhile"):
        proof.run("asan", [])


def test_rows_without_the_last_change_of_c_are_outdated(repository):
    commit, _ = repository
    trees = [commit("cext/a.c", "1"), commit("docs/a", "1"), commit("cext/a.c", "2"), commit("docs/a", "2")]
    trees.append("f" * 7)  # of another history
    assert proof.outdated({number: {"tree": tree} for number, tree in enumerate(trees)}) == [0, 1, 4]


def test_rows_are_of_trees_with_the_last_change_of_c():
    """After such a change a campaign runs again, or its row is removed."""
    command = ["git", "rev-parse", "--is-shallow-repository"]
    shallow = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if shallow.stdout != "false\n":
        pytest.skip("the history is not complete here")
    assert proof.outdated(CAMPAIGNS) == []
