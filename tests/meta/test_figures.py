"""The figures of the documentation, and the charts, are those of benchmarks/results.json."""

import json

import pytest
from benchmarks import charts, pages
from benchmarks.results import put

RESULTS = json.loads(pages.RESULTS.read_text())


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.name)
def test_page_has_the_measured_figures(page):
    text = page.read_text()
    assert "<!-- figures: " in text
    assert pages.fill(text, pages.sections(RESULTS)) == text


def test_charts_have_the_measured_figures(tmp_path):
    pages.draw_all(RESULTS, tmp_path)
    drawn = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert drawn == {path.name: path.read_text() for path in pages.CHART_FOLDER.glob("*.svg")}
    assert drawn.keys() == {chart.file for chart in charts.CHARTS}


def test_servers_have_a_table_for_each_loop_and_a_chart(tmp_path):
    row = {"loop": "uvloop", "load": "echo 50 x 256 B", "unit": "us", "figures": {"callback": 4.0, "picows": 5.0}}
    idle = {"loop": "uvloop", "load": "idle 1500", "unit": "KiB", "figures": {"callback": 3.96}}
    about = {**RESULTS["environment"], "peers": "picows 9.8"}
    results = {"environment": about, "tables": [], "servers": {"environment": about, "rows": [row, idle]}}
    assert pages.sections(results)["servers-uvloop"].splitlines() == [
        "| | echo 50 x 256 B, us | idle 1500, KiB |",
        "|---|---|---|",
        "| framewire, callbacks | 4 | 3.96 |",
        "| picows 9.8 | 5 | |",
    ]
    pages.draw_all(results, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["servers.svg"]
    chart = (tmp_path / "servers.svg").read_text()
    assert chart.index("framewire, callbacks") < chart.index("0.25<") < chart.index("picows 9.8") < chart.index("0.2<")


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
    filled = pages.fill(page, pages.sections(results))
    assert "old" not in filled
    assert "| framewire | 10 |  |\n| websockets 1.2, pure Python | 1 | 10x as fast |\n" in filled
    assert "| date | 2026-01-02 |" in filled
    assert filled.startswith("before\n")
    assert "\nafter\n" in filled
