"""The WebSocket API of framewire and of Chromium: the same scenarios give the same logs.

SCENARIOS=SEED:COUNT in the environment runs COUNT random scenarios of another seed.
"""

import asyncio
import json
import os
import re
import threading
from pathlib import Path

import pytest
from browser_scenarios import make_scenarios
from scenario_runner import run_scenario
from scenario_server import ScenarioServer

SCRIPT = (Path(__file__).parent / "scenarios.js").read_text()
#: Seconds until a scenario is given up.
LIMIT = 20
SEED, COUNT = os.environ.get("SCENARIOS", "1:60").split(":")
SCENARIOS = make_scenarios(SEED, int(COUNT))

#: Why framewire differs from Chromium in some scenarios, by patterns of their names.
DIFFERENCES = {
    r"received close code (0|998|999|1004|1016|1017|1099|2999|5000|65535)": (
        "a close frame must not have this code (RFC 6455 7.4); Chromium reports it as any other"
    ),
    r"violation: .*(UTF-8|code point).*|received close with (invalid UTF-8|an unfinished code point)": (
        "text that is not UTF-8 is closed with 1007 (RFC 6455 8.1); Chromium closes with 1002"
    ),
    r"violation: compressed: no DEFLATE data": "closed with 1007 as invalid data; Chromium closes with 1002",
    r"frames after a close by the server": (
        "data after a close frame is discarded (RFC 6455 1.4); Chromium fails the connection"
    ),
    r"response: status 10[03] and 101": (
        "interim responses come before the response (RFC 9110 15.2); Chromium fails the connection"
    ),
    r"response: HTTP/1\.0": "HTTP/1.0 has no Upgrade (RFC 9110 7.8); Chromium accepts it",
    r"response: (a folded line|a line without a colon|a space before a colon)": (
        "malformed header lines are refused (RFC 9112 5); Chromium ignores or repairs them"
    ),
    r"response: an empty extension": "a list may have empty elements (RFC 9110 5.6.1.2); Chromium fails the connection",
    r"URL 'ws://ex ample\.test/'": "a host has no space (WHATWG URL 3.5); Chromium encodes it",
    r"subprotocols \{(?!.*'a', 'a').*": "the constructor takes options (WHATWG); Chromium 156 does not know them",
    r"close with a reason and no code": "a code that is undefined is not passed (Web IDL); Chromium takes it as 0",
}
#: The logs of framewire in these scenarios.
DIFFERENT = json.loads((Path(__file__).parent / "scenario_differences.json").read_text())


class LoopThread:
    """A thread that runs an event loop, since the main thread runs that of Playwright."""

    def __enter__(self):
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        return self

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(600)

    def __exit__(self, *exception):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


def make_url(run, number, host):
    scenario = SCENARIOS[number]
    return scenario.get("url", f"ws://{{host}}/{run}/{number}{scenario.get('path', '/')}").replace("{host}", host)


def run_in_browser(page, host):
    """Return the log of each scenario."""
    page.evaluate(SCRIPT)
    call = "arguments => runScenario(...arguments)"
    return [
        page.evaluate(call, [scenario, make_url("browser", number, host), 1000 * LIMIT])
        for number, scenario in enumerate(SCENARIOS)
    ]


async def run_here(host):
    """Return the log of each scenario, with framewire as the client."""
    return [
        await run_scenario(scenario, make_url("framewire", number, host), LIMIT)
        for number, scenario in enumerate(SCENARIOS)
    ]


@pytest.fixture(scope="module")
def logs(browser):
    """Return the logs of the scenarios by name: of Chromium and of framewire."""
    page = browser.new_page()
    with LoopThread() as thread:
        server = ScenarioServer(SCENARIOS)
        thread.run(server.start())
        clients = {"browser": run_in_browser(page, server.host), "framewire": thread.run(run_here(server.host))}
        thread.run(server.stop())
    page.close()
    return {
        scenario["name"]: [
            complete(
                [line.replace(f"/{run}/", "/RUN/") for line in clients[run][number]], server.logs[run, str(number)]
            )
            for run in clients
        ]
        for number, scenario in enumerate(SCENARIOS)
    }


def complete(log, received):
    """Append what the server has received, if the connection was open."""
    if not any(line.startswith("open:") for line in log):
        return log  # the client may or may not have sent its request before the end
    return [*log, *(f"server: {line}" for line in received)]


def test_framewire_and_chromium_log_the_same_in_each_scenario(logs):
    assert len(logs) >= 120
    assert not any("timeout" in log for pair in logs.values() for log in pair)
    different = {name: pair for name, pair in logs.items() if pair[0] != pair[1] and name not in DIFFERENT}
    assert different == {}


def test_framewire_logs_its_own_where_it_differs_from_chromium(logs):
    assert {name: logs[name][1] for name in DIFFERENT} == DIFFERENT
    assert [name for name in DIFFERENT if logs[name][0] == logs[name][1]] == []


def test_each_known_difference_from_chromium_has_a_reason():
    explained = {name: [pattern for pattern in DIFFERENCES if re.fullmatch(pattern, name)] for name in DIFFERENT}
    assert {name: patterns for name, patterns in explained.items() if len(patterns) != 1} == {}
    assert {pattern for patterns in explained.values() for pattern in patterns} == DIFFERENCES.keys()
