"""Run the pages of web-platform-tests' `websockets/` in Chromium on framewire's handlers.

    python tests/seeds/wpt.py FOLDER [--reference PYTHON] [--update] [--only REGEX]

FOLDER is a checkout with `websockets`, `resources` and `common`; its handlers are for Python 3. A
small server serves the pages, with the substitutions of `.sub.` files and `?pipe=sub`, the delay of
`?pipe=trickle(dN)`, and the pages that run `.any.js` and `.worker.js` files; wptserve's own
handlers (`.py`) are not run. The WebSockets are served by `framewire serve -w`, plain and TLS.
`wpt.json` keeps the number of subtests that pass of each page, and the others by name, each with
its reason. With --reference, an interpreter that has pywebsocket3 4.0.2, the pages run on
pywebsocket3 too: what passes there must pass here. Exit status 1: a result is not the expected one,
or better on pywebsocket3.
"""

import argparse
import asyncio
import json
import mimetypes
import re
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from playwright.async_api import Error, async_playwright

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support")]

from browsers import ARGUMENTS, CHROMIUM  # noqa: E402 - after the change of the path
from handlers import serving  # noqa: E402

EXPECTED = HERE / "wpt.json"

#: Seconds to wait for the results of a page; those that declare a long timeout have 60.
PAGE_TIME = 70
#: Pages that are open at the same time.
WINDOWS = 4

ADDRESS = "127.0.0.1"
#: The host of the pages, which the browser maps to the address, with all names below it.
HOST = "web-platform.test"
BROWSER = ["--ignore-certificate-errors", f"--host-resolver-rules=MAP *.{HOST} {ADDRESS}, MAP {HOST} {ADDRESS}"]
SUBTEST = ("PASS", "FAIL", "TIMEOUT", "NOTRUN", "PRECONDITION_FAILED")
HARNESS_STATUS = ("OK", "ERROR", "TIMEOUT", "PRECONDITION_FAILED")
HARNESS = "<script src=/resources/testharness.js></script><script src=/resources/testharnessreport.js></script>"

#: In place of testharnessreport.js.
REPORT = b"""
add_completion_callback((tests, harness) => {
  self.results = {harness: harness.status, tests: tests.map(each => [each.name, each.status])};
});
"""


class Pages(BaseHTTPRequestHandler):
    """Serves the files of the checkout."""

    def do_GET(self):
        """Answer with a file or a page made for one."""
        parts = urlsplit(self.path)
        if delay := re.search(r"pipe=trickle\(d(\d+)\)", parts.query):
            time.sleep(int(delay[1]))  # as the page asks wptserve to
        found = self.make(unquote(parts.path), "pipe=sub" in parts.query)
        self.send_response(404 if found is None else 200)
        kind, body = found or ("text/plain", b"")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(ConnectionError):  # the browser has left the page
            self.wfile.write(body)

    def make(self, path, substitute):
        """Return the type and the body of a resource, or None."""
        if path == "/resources/testharnessreport.js":
            return "text/javascript", REPORT
        folder, names = self.server.folder, self.server.names
        if match := re.fullmatch(r"/(.*?\.(?:any|worker))\.(?:(worker|sharedworker)\.)?(html|js)", path):
            stem, worker, end = match.groups()
            source = folder / f"{stem}.js"
            if source.is_file() and (worker or end == "html"):
                return make_page(f"/{stem}.js", source.read_text(), worker, end)
        file = (folder / path[1:]).resolve()
        if not file.is_file() or folder not in file.parents or file.suffix == ".py":
            return None
        body = file.read_bytes()
        if substitute or ".sub." in file.name:
            body = re.sub(rb"\{\{(.*?)\}\}", lambda match: names.get(match[1], match[0]), body)
        return mimetypes.guess_type(file.name)[0] or "text/plain", body

    def log_message(self, *words):
        """Log nothing."""


def make_page(path, source, worker, end):
    """Return the type and the body of a page or a worker's script that runs a file."""
    scripts = [*re.findall(r"// META: script=(\S+)", source), path]
    if end == "js":
        lines = [f"importScripts({json.dumps(each)});" for each in ("/resources/testharness.js", *scripts)]
        lines = ["self.GLOBAL = {isWindow: () => false, isWorker: () => true};", *lines, "done();"]
        return "text/javascript", "\n".join(lines).encode()
    if worker or path.endswith(".worker.js"):
        path = path[:-2] + f"{worker}.js" if worker else path
        kind = "SharedWorker" if worker == "sharedworker" else "Worker"
        body = f"<script>fetch_tests_from_worker(new {kind}({json.dumps(path)} + location.search));</script>"
    else:
        body = "<script>self.GLOBAL = {isWindow: () => true, isWorker: () => false};</script>"
        body += "".join(f'<script src="{each}"></script>' for each in scripts)
    return "text/html", f"<!doctype html><meta charset=utf-8>{HARNESS}<div id=log></div>{body}".encode()


def list_pages(folder):
    """Return the paths of all pages that report results, with their variants except for HTTP/2."""
    found = []
    for path in sorted((folder / "websockets").rglob("*.*")):
        name = f"/{path.relative_to(folder).as_posix()}"
        if not name.endswith((".js", ".html", ".htm")) or "/support/" in name or "manual" in path.name:
            continue
        source = path.read_text(errors="replace")
        variants = re.findall(r'<meta name="?variant"? content="([^"]*)"|// META: variant=(\S+)', source)
        if name.endswith(".any.js"):
            kinds = re.search(r"// META: global=(\S+)", source)
            ends = {"window": ".html", "dedicatedworker": ".worker.html", "sharedworker": ".sharedworker.html"}
            kinds = kinds[1].split(",") if kinds else ["window", "dedicatedworker"]
            names = [name[:-3] + ends[kind] for kind in kinds if kind in ends]
        elif name.endswith(".worker.js"):
            names = [name[:-3] + ".html"]
        else:
            names = [name] if not name.endswith(".js") and "testharness.js" in source else []
        options = ["".join(each) for each in variants] or [""]
        found += [each + option for each in names for option in options if "wpt_flags=h2" not in option]
    return found


@contextmanager
def serving_pages(folder, context, names):
    """Serve the checkout on a free port; give the port."""
    with ThreadingHTTPServer((ADDRESS, 0), Pages) as server:
        server.folder, server.names = folder, names
        if context:
            # A handshake in `accept` would let one silent connection block the others.
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@contextmanager
def serving_suite(command, folder):
    """Run the servers of pages and WebSockets; give the ports of the pages, plain and TLS."""
    with ExitStack() as stack:
        certificate = str(Path(stack.enter_context(tempfile.TemporaryDirectory())) / "certificate.pem")
        command_line = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={HOST}".split()
        files = ["-keyout", certificate, "-out", certificate]
        subprocess.run([*command_line, *files], check=True, stderr=subprocess.DEVNULL)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        handlers, secure = folder / "websockets/handlers", ["-t", "-k", certificate, "-c", certificate]
        ports = {
            "ws": stack.enter_context(serving(command, handlers))[0],
            "wss": stack.enter_context(serving([*command, *secure], handlers))[0],
        }
        names = {b"host": HOST.encode()}
        ports["http"] = stack.enter_context(serving_pages(folder, None, names))
        ports["https"] = stack.enter_context(serving_pages(folder, context, names))
        for name, port in ports.items():
            names[f"ports[{name}][0]".encode()] = str(port).encode()
        yield ports


async def run_page(browser, url):
    """Return the outcomes of the subtests of a page: (name, outcome) pairs."""
    # Pages leave cookies and entries of sessionStorage, which the next one must not see.
    context = await browser.new_context(ignore_https_errors=True)
    try:
        page = await context.new_page()
        await page.goto(url)
        await page.wait_for_function("self.results", timeout=PAGE_TIME * 1000)
        results = await page.evaluate("self.results")
    except Error:
        return [("the page", "NO RESULT")]
    finally:
        await context.close()
    outcomes = [(name, SUBTEST[status]) for name, status in results["tests"]]
    if results["harness"]:
        outcomes.append(("the harness", HARNESS_STATUS[results["harness"]]))
    return outcomes


async def run_pages(ports, pages):
    """Return the outcomes by page."""
    results, waiting = {}, iter(pages)
    numbers = "|".join(map(str, ports.values()))

    async def run_some(browser):
        for page in waiting:
            scheme = "https" if ".https." in page or "wpt_flags=https" in page else "http"
            outcomes = await run_page(browser, f"{scheme}://{HOST}:{ports[scheme]}{page}")
            results[page] = [(re.sub(rf":({numbers})\b", ":PORT", name), outcome) for name, outcome in outcomes]

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, *BROWSER])
        await asyncio.gather(*(run_some(browser) for _ in range(WINDOWS)))
        await browser.close()
    return {page: results[page] for page in pages}


def run_suite(command, folder, pages):
    """Run all pages on a server of WebSockets."""
    with serving_suite(command, folder) as ports:
        return asyncio.run(run_pages(ports, pages))


def summarize(results):
    """Return the number of subtests that pass, and the others with their outcomes, by page."""
    return {
        page: {
            "passed": sum(outcome == "PASS" for _, outcome in outcomes),
            "others": {name: outcome for name, outcome in outcomes if outcome != "PASS"},
        }
        for page, outcomes in results.items()
    }


def judge(found, reference, kept):
    """Return a line for each result that is not a pass, and whether all results are as expected."""
    lines, expected = [], True
    for page, entry in found.items():
        if entry["passed"] != kept["passed"].get(page):
            expected = False
            lines.append(f"{page}: {entry['passed']} subtests passed, expected {kept['passed'].get(page)}")
        others = kept["others"].get(page, {})
        for name in sorted(entry["others"].keys() | others.keys()):
            outcome, (before, reason) = entry["others"].get(name, "PASS"), others.get(name, ("PASS", ""))
            line = f"{page} / {name}: {outcome}, {reason or 'no reason is known'}"
            if outcome != before or not reason:
                expected = False
                line += f"; expected {before}"
            if reference is not None:
                theirs = reference[page]["others"].get(name) or reference[page]["others"].get("the page", "PASS")
                line += f"; {theirs} on pywebsocket3"
                expected = expected and theirs != "PASS"
            lines.append(line)
    return lines, expected


def keep(found, kept):
    """Keep the results as the expected ones, with the reasons that are known."""
    others = {
        page: {
            name: [outcome, kept["others"].get(page, {}).get(name, ["", ""])[1]]
            for name, outcome in entry["others"].items()
        }
        for page, entry in found.items()
        if entry["others"]
    }
    passed = {page: entry["passed"] for page, entry in found.items()}
    EXPECTED.write_text(json.dumps({"passed": passed, "others": others}, indent=1, sort_keys=True) + "\n")


def print_table(found):
    """Print the numbers of pages and subtests by folder."""
    table = {}
    for page, entry in found.items():
        row = table.setdefault(page.rpartition("/")[0], Counter())
        row.update(pages=1, passed=entry["passed"], others=len(entry["others"]))
    for name, row in [*table.items(), ("all", sum(table.values(), Counter()))]:
        print(f"{name:50} {row['pages']:4} pages {row['passed']:5} passed {row['others']:4} others")


def main():
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the checkout")
    parser.add_argument("--reference", metavar="PYTHON", help="an interpreter that has pywebsocket3")
    parser.add_argument("--update", action="store_true", help="keep these results as the expected ones")
    parser.add_argument("--only", metavar="REGEX", default="", help="only pages whose path matches; for looking")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    pages = [page for page in list_pages(folder) if re.search(arguments.only, page)]
    found, reference = summarize(run_suite([sys.executable, "-m", "framewire", "serve"], folder, pages)), None
    if arguments.reference:
        reference = summarize(run_suite([arguments.reference, str(HERE / "reference.py")], folder, pages))
        print("pywebsocket3:")
        print_table(reference)
        print("framewire:")
    print_table(found)
    kept = json.loads(EXPECTED.read_text()) if EXPECTED.exists() else {"passed": {}, "others": {}}
    if arguments.update:
        keep(found, kept)
        return 0
    lines, expected = judge(found, reference, kept)
    print(*lines, sep="\n")
    missing = {} if arguments.only else kept["passed"].keys() - found.keys()
    print(*(f"{page}: not found" for page in sorted(missing)), sep="\n")
    return int(not expected or bool(missing))


if __name__ == "__main__":
    sys.exit(main())
