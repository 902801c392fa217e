"""mkdocs hooks: pages and charts from elsewhere in the repository."""

import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security-policy.md",
    "CODE_OF_CONDUCT.md": "code-of-conduct.md",
    "RELEASING.md": "releasing.md",
    "benchmarks/README.md": "benchmarks.md",
}


def on_files(files, config):
    """Add the pages and charts, and adapt the links between the pages."""
    for source, page in PAGES.items():
        text = re.sub(r"\]\(([\w/.]+\.md)\)", lambda m: f"]({PAGES.get(m[1], m[1])})", (ROOT / source).read_text())
        files.append(File.generated(config, page, content=text))
    for chart in sorted((ROOT / "benchmarks/charts").glob("*.svg")):
        files.append(File.generated(config, f"charts/{chart.name}", abs_src_path=str(chart)))
    return files
