"""mkdocs hooks: pages and charts from elsewhere in the repository, and llms.txt."""

import pkgutil
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


def on_nav(nav, config, files):
    """Add llms.txt (llmstxt.org): the pages by section, each with its first sentence."""
    lines = [f"# {config.site_name}", "", f"> {config.site_description}", ""]
    for item in nav.items:
        if item.is_section:
            lines += ["", f"## {item.title}", "", *(describe(page) for page in item.children if page.is_page)]
        else:
            lines.append(describe(item))
    files.append(File.generated(config, "llms.txt", content="\n".join(lines) + "\n"))


def describe(page):
    """Return a line of llms.txt."""
    text = re.sub(r"^ *```.*?^ *```$", "", page.file.content_string, flags=re.MULTILINE | re.DOTALL)
    blocks = re.split(r"\n{2,}", text)
    title = page.title or next(block for block in blocks if block.startswith("# "))[2:].partition("\n")[0]
    return f"- [{title}]({page.canonical_url or page.url}): {next(sentences(blocks), '').rstrip(':')}"


def sentences(blocks):
    """Yield the sentences that may describe a page: those of its text, and of the docstring that its first
    directive shows.
    """
    for block in blocks:
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(block.split()))
        if directive := re.match(r"::: (\S+)", text):
            yield " ".join(pkgutil.resolve_name(directive[1]).__doc__.partition("\n\n")[0].split())
        elif re.match(r"(?!\[TOC\]|Tested with)[A-Za-z`\[]", text):
            yield from re.split(r"(?<=[.:]) ", text)
