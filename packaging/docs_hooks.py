"""What the documentation shows from elsewhere in the tree, so that nothing stands twice: texts and charts."""

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
    """Adds the files; links between them follow."""
    for source, page in PAGES.items():
        text = re.sub(r"\]\(([\w/.]+\.md)\)", lambda m: f"]({PAGES.get(m[1], m[1])})", (ROOT / source).read_text())
        files.append(File.generated(config, page, content=text))
    for chart in sorted((ROOT / "benchmarks/charts").glob("*.svg")):
        files.append(File.generated(config, f"charts/{chart.name}", abs_src_path=str(chart)))
    return files
