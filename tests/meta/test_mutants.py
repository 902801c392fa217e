"""The lists of mutants that no test can kill name mutants that exist, and no mutant counts without a control."""

import importlib
import sys
import time
from types import SimpleNamespace

import pytest
from documents import ROOT

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture(scope="module")
def run():
    """The module of `make mutants`."""
    sys.path.insert(0, str(ROOT / "tests/mutants"))
    try:
        yield importlib.import_module("run")
    finally:
        sys.path.pop(0)


def test_equivalent_mutants_exist_and_are_listed_once(run):
    lines = [line for line in (run.HERE / "equivalent.txt").read_text().splitlines() if "::" in line]
    assert sorted(lines) == sorted(run.list_equivalent())
    assert run.list_equivalent() - {mutant.name for mutant in run.find([])} == set()


def test_equivalent_mutants_of_kernels_exist_and_are_listed_once():
    from tests.mutants import kernels

    listed = [
        line for line in (kernels.HERE / "equivalent_kernels.txt").read_text().splitlines() if line and line[0] != "#"
    ]
    names = {mutant.name for path in kernels.KERNELS.glob("*.[ch]") for mutant in kernels.mutants(path)}
    assert sorted(set(listed)) == sorted(listed)
    assert set(listed) - names == set()


def control(run, *tests):
    """Run the tests, of which each is a function that returns whether it passes, as the control."""
    session = SimpleNamespace(testsfailed=0)

    def pytest_runtest_protocol(item, nextitem):
        session.testsfailed += not item.function()

    config = SimpleNamespace(hook=SimpleNamespace(pytest_runtest_protocol=pytest_runtest_protocol))
    mutant = run.Mutant("a::f: 1 -> 2", run.PATHS[0], 1, (1, 1), None, None, None)
    runner = run.Runner([mutant], 1)
    runner.items = {
        f"test_{number}": SimpleNamespace(config=config, function=test) for number, test in enumerate(tests)
    }
    for name, item in runner.items.items():
        item.nodeid = name
    runner.seconds = dict.fromkeys(runner.items, 0.0)
    runner.tests[str(mutant.path.relative_to(run.PACKAGE))][1] = list(runner.items)
    runner.imported = {str(mutant.path.relative_to(run.PACKAGE)): set()}
    runner.control(session)


def test_control_passes_if_every_test_does(run):
    control(run, lambda: True, lambda: True)


def test_control_ignores_a_test_that_fails_once(run, tmp_path):
    def fail_once():
        if tmp_path.joinpath("failed").exists():
            return True
        tmp_path.joinpath("failed").touch()
        return False

    control(run, fail_once, lambda: True)
    assert tmp_path.joinpath("failed").exists()
    with pytest.raises(pytest.exit.Exception, match="test_1"):
        control(run, fail_once, lambda: False)


def loop():
    while True:
        pass


@pytest.mark.parametrize("bad", [lambda: False, loop, lambda: time.sleep(60) or True], ids=["failing", "slow", "stuck"])
def test_control_ends_the_run_if_a_test_fails_or_is_slow(run, bad):
    with pytest.raises(pytest.exit.Exception, match="without a mutant, or takes long: test_1"):
        control(run, lambda: True, bad)
