"""Short campaigns of every kind of simulated world, and tests of the simulation itself."""

import os
import subprocess
import sys

import pytest

from tests.simulation.kinds import KINDS, failure_of, run
from tests.simulation.schedule import CheckError, Schedule, shrink

pytestmark = pytest.mark.both_backends

#: How many schedules of each kind the suite runs: some seconds.
SHORT = {"session": 500}


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_schedules_hold_every_property(kind, part):
    count = SHORT[kind] // 4
    for seed in range(part * count, (part + 1) * count):
        schedule = KINDS[kind].draw(seed)
        failure = failure_of(kind, schedule)
        assert failure is None, f"{failure!r}; python -m tests.simulation --kind {kind} --seed {seed}"


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_seed_runs_the_same_way_in_another_process(kind):
    code = f"from tests.simulation.kinds import *; print(*(run({kind!r}, KINDS[{kind!r}].draw(n)) for n in range(20)))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert output.stdout.split() == " ".join(run(kind, KINDS[kind].draw(seed)) for seed in range(20)).split()


def test_failing_schedule_is_made_smaller():
    entries = [(float(number), 0, "step", number) for number in range(20)]
    schedule = Schedule(1, {"a": 1, "b": 2}, entries, entries)

    def fails(candidate):
        numbers = {number for _, _, _, number in candidate.steps}
        return {3, 7} <= numbers and "b" in candidate.options

    assert shrink(schedule, fails) == Schedule(1, {"b": 2}, [entries[3], entries[7]], [])


def test_message_that_is_lost_is_found(monkeypatch):
    kind = KINDS["session"]
    end = type(kind.world(kind.draw(1)).ends[0])
    take, taken = end.take, []
    monkeypatch.setattr(end, "take", lambda self, *args: taken.append(1) or (take(self, *args) if len(taken) != 2 else None))
    failures = [failure_of("session", kind.draw(seed)) for seed in range(5)]
    assert any(isinstance(failure, CheckError) for failure in failures)
