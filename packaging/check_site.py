"""Check the built site in Chromium: python packaging/check_site.py [SITE] [SCREENSHOTS]

At the width of a phone and of a desktop no page may be wider than the window, no picture may be missing,
and no script may fail; the search must find the questions and answers first; and llms.txt must name
and describe pages that exist. Writes the screenshots, prints each error, and exits with status 1.
"""

import re
import shutil
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from playwright.sync_api import sync_playwright

PAGES = ("", "faq/", "how-to/memory/", "api/asyncio/", "deploy/kubernetes/")
WIDTHS = (400, 1300)
#: Searches, each of which one question answers.
SEARCHES = ("1006", "keepalive ping timeout", "403 origin")

#: The first elements that are wider than the window, and not inside one that scrolls by itself.
WIDE = """() => {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width) return [];
  return [...document.querySelectorAll("main *")].filter((e) => e.getBoundingClientRect().right > width + 1)
    .slice(0, 3).map((e) => e.tagName + " " + e.textContent.trim().slice(0, 40));
}"""
MISSING = "() => [...document.images].filter((i) => i.complete && !i.naturalWidth).map((i) => i.src)"


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def look_faults(browser, base, screenshots):
    """Yield a line for each problem with the look of a page."""
    for width in WIDTHS:
        page = browser.new_page(viewport={"width": width, "height": 900})
        errors = []
        page.on("pageerror", lambda error, errors=errors: errors.append(error))
        for path in PAGES:
            page.goto(base + path)
            page.screenshot(path=screenshots / f"{path.replace('/', '-') or 'home-'}{width}.png")
            where = f"{path or '/'} at {width} pixels"
            if page.evaluate("document.documentElement.scrollWidth") > width:
                yield f"{where}: too wide: {page.evaluate(WIDE)}"
            if missing := page.evaluate(MISSING):
                yield f"{where}: missing pictures: {missing}"
        yield from (f"a script fails at {width} pixels: {error}" for error in errors)
        page.close()


def search_faults(browser, base):
    """Yield a line for each search that finds another page before the questions and answers."""
    page = browser.new_page(viewport={"width": 1300, "height": 900})
    for words in SEARCHES:
        page.goto(base)
        page.click("input.md-search__input")
        page.keyboard.type(words)
        first = page.wait_for_selector(".md-search-result__link", state="attached").get_attribute("href")
        if "/faq/" not in first:
            yield f"the search for {words!r} finds {first} first"


def text_faults(site):
    """Yield a line for each page in llms.txt that does not exist, or has no description."""
    text = (site / "llms.txt").read_text()
    addresses = re.findall(r"\]\(([^)]*)\)", text)
    yield from (f"llms.txt describes no page here: {line}" for line in re.findall(r"^- .*\): *$", text, re.MULTILINE))
    if len(addresses) < 40:
        yield f"llms.txt has only {len(addresses)} pages"
    for address in addresses:  # the first is that of the site
        if not (site / address.removeprefix(addresses[0]) / "index.html").is_file():
            yield f"llms.txt names {address}, which does not exist"


def main():
    site = Path(sys.argv[1] if len(sys.argv) > 1 else "site")
    screenshots = Path(sys.argv[2] if len(sys.argv) > 2 else "build/screenshots")
    screenshots.mkdir(parents=True, exist_ok=True)
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        sys.exit("the site is not checked: chromium is missing")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}/"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        faults = [*look_faults(browser, base, screenshots), *search_faults(browser, base), *text_faults(site)]
        browser.close()
    for fault in faults:
        print(fault)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
