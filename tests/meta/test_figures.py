"""The figures of the documentation, and the charts, are those of benchmarks/results.json."""

import json

import pytest
from benchmarks import charts, pages

RESULTS = json.loads(pages.RESULTS.read_text())


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.name)
def test_page_has_the_measured_figures(page):
    text = page.read_text()
    assert "<!-- figures: " in text
    assert pages.fill(text, pages.sections(RESULTS)) == text


def test_charts_have_the_measured_figures(tmp_path):
    charts.draw(pages.read_tables(RESULTS), RESULTS["environment"], tmp_path)
    drawn = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert drawn == {path.name: path.read_text() for path in pages.CHART_FOLDER.glob("*.svg")}
    assert drawn.keys() == {chart.file for chart in charts.CHARTS}


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
