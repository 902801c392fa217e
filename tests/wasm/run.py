"""Run the scenarios of tests/api/browser_scenarios.py with `framewire.websocket` in Pyodide.

    python tests/wasm/run.py NODE_MODULES

The folder has the npm packages pyodide and ws. In a page in Chromium every log must be that of
Chromium's own WebSocket. In node, where the WebSocket may be that of ws, the client's log must be the
same in the scenarios with a server that follows the protocol.
"""

import difflib
import json
import re
import shutil
import subprocess
import sys
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

import h11

import framewire

HERE = Path(__file__).parent
API = HERE.parent / "api"
sys.path.insert(0, str(API))

from browsers import chromium  # noqa: E402
from scenario_server import ScenarioServer  # noqa: E402
from test_browser_scenarios import LIMIT, SCENARIOS, LoopThread, complete, make_url, run_in_browser  # noqa: E402

#: Scenarios in which framewire's checks of arguments differ from Chromium's; see `DIFFERENCES`.
CHECKS = r"subprotocols \{.*|close with a reason and no code|URL 'ws://ex ample.*"
#: Scenarios with a server that breaks the protocol, which ws answers otherwise than Chromium.
MISBEHAVIOUR = r"violation|response|received close|frames after a close"
#: The page, which imports scenarios.mjs.
PAGE = """<!doctype html><script type="module">
import { load } from "/scenarios.mjs";
window.run = await load(await (await fetch("/archive.zip")).arrayBuffer());
</script>"""


def fill(folder, modules):
    """Fill a folder with the page, the modules of JavaScript and an archive of those of Python."""
    (folder / "node_modules").symlink_to(modules.resolve())
    (folder / "index.html").write_text(PAGE)
    shutil.copy(HERE / "scenarios.mjs", folder)
    with zipfile.ZipFile(folder / "archive.zip", "w") as file:
        for root, pattern in (
            (Path(framewire.__file__).parents[1], "framewire/**/*.py"),
            (Path(h11.__file__).parents[1], "h11/*.py"),
            (API, "scenario_*.py"),
        ):
            for path in root.glob(pattern):
                file.write(path, path.relative_to(root))


class Files(SimpleHTTPRequestHandler):
    """Serves a folder, whose modules a page may load."""

    def guess_type(self, path):
        return "text/javascript" if path.endswith(".mjs") else super().guess_type(path)

    def log_message(self, *arguments):
        pass


def arguments_of(run, host):
    """Return the arguments of `run_scenario` for each scenario, as JSON."""
    return [json.dumps([each, make_url(run, number, host), LIMIT]) for number, each in enumerate(SCENARIOS)]


def run_in_page(browser, folder, host):
    """Return the log of each scenario in Pyodide in a page."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=str(folder))) as server:
        Thread(target=server.serve_forever).start()
        try:
            page = browser.new_page()
            page.goto(f"http://127.0.0.1:{server.server_port}/")
            page.wait_for_function("window.run !== undefined")
            return [json.loads(page.evaluate("each => run(each)", each)) for each in arguments_of("page", host)]
        finally:
            server.shutdown()


def run_in_node(folder, host):
    """Return the log of each scenario in Pyodide in node."""
    lines = "".join(f"{each}\n" for each in arguments_of("node", host))
    command = ["node", "scenarios.mjs"]
    output = subprocess.run(command, cwd=folder, input=lines, stdout=subprocess.PIPE, text=True, check=True).stdout
    return [json.loads(line) for line in output.splitlines()]


def run_all(folder):
    """Return the logs by client, and those of the server."""
    with chromium("framewire in Pyodide") as browser, LoopThread() as thread:
        server = ScenarioServer(SCENARIOS)
        thread.run(server.start())
        logs = {
            "browser": run_in_browser(browser.new_page(), server.host),
            "page": run_in_page(browser, folder, server.host),
            "node": run_in_node(folder, server.host),
        }
        thread.run(server.stop())
    return logs, server.logs


def compare(run, logs, excluded):
    """Print the scenarios in which the logs of a run differ from those of Chromium; return how many."""
    compared = [number for number, each in enumerate(SCENARIOS) if not re.match(excluded, each["name"])]
    different = [number for number in compared if logs[run][number] != logs["browser"][number]]
    for number in different:
        print(SCENARIOS[number]["name"], *difflib.ndiff(logs["browser"][number], logs[run][number]), sep="\n  ")
    print(f"{run}: {len(compared)} scenarios, {len(different)} differ from Chromium")
    return len(different)


def main():
    with TemporaryDirectory() as name:
        folder = Path(name)
        fill(folder, Path(sys.argv[1]))
        logs, received = run_all(folder)
    for run in logs:
        logs[run] = [[line.replace(f"/{run}/", "/RUN/") for line in log] for log in logs[run]]
    clients = {run: [[line.partition("permessage-deflate")[0] for line in log] for log in logs[run]] for run in logs}
    whole = {run: [complete(log, received[run, str(number)]) for number, log in enumerate(logs[run])] for run in logs}
    return compare("page", whole, CHECKS) + compare("node", clients, f"{CHECKS}|{MISBEHAVIOUR}") > 0


if __name__ == "__main__":
    sys.exit(main())
