"""A plugin for pytest: writes the outcome of each test as a line of JSON, and ends tests that hang.

`RECORD` names the file, `TEST_SECONDS` the time that a test may take.
"""

import json
import os
import signal
import unittest

import pytest

#: Texts of exceptions that differ: they are recorded, and fail no test.
TEXTS = []


def assert_text(self, first, second, msg=None):
    """Record texts that differ, in place of `assertEqual`."""
    if first != second:
        TEXTS.append((first, second))


unittest.TestCase.assertText = assert_text


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Raise in the main thread when a test takes too long; again each second, for what swallows
    it.
    """

    def end(number, frame):
        raise TimeoutError("the test takes too long")

    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, float(os.environ["TEST_SECONDS"]), 1)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def pytest_runtest_logreport(report):
    """Write the outcome of a phase of a test, or of a subtest."""
    if report.when == "call" or report.outcome != "passed":
        crash = getattr(report.longrepr, "reprcrash", None)
        line = {"test": report.nodeid, "outcome": report.outcome, "error": crash.message if crash else ""}
        write({**line, "texts": list(TEXTS)})
        TEXTS.clear()


def pytest_collectreport(report):
    """Write that a module cannot be imported."""
    if report.failed:
        write(
            {
                "test": report.nodeid,
                "outcome": "error",
                "error": str(report.longrepr).strip().rpartition("\n")[2].removeprefix("E   "),
                "texts": [],
            }
        )


def write(line):
    """Append a line to the record."""
    with open(os.environ["RECORD"], "a") as record:
        print(json.dumps(line), file=record)
