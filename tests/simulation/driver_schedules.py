"""Draws schedules for the worlds of the drivers."""

from __future__ import annotations

from math import inf
from random import Random
from typing import Any

from .schedule import Schedule
from .scripted_peer import MANNERS
from .session_schedules import SIZES, draw_close, draw_rate_limit
from .violations import VIOLATIONS

__all__ = ["draw_asyncio_schedule", "draw_threads_schedule", "draw_trio_schedule"]

_LAST_STEP = 20.0


#: Settings that a driver does not have.
_ABSENT = {"trio": {"max_unsent"}, "threads": {"max_unsent", "write_limit"}}


def draw_asyncio_schedule(seed: int) -> Schedule:
    """Return the schedule of a seed for `AsyncioWorld`: some are over TLS, and in some a listener sends
    on and on to a peer that does not read.
    """
    schedule, random = _draw(seed, "asyncio"), Random(~seed)
    scripted = "scripted" in (schedule.options.get(f"{end}.api") for end in (0, 1))
    if not scripted and random.random() < 0.2:
        schedule.options["tls"] = True
    if not (scripted or schedule.options["good"]) and random.random() < 0.2:
        _draw_burst(random, schedule, random.randrange(2))
    return schedule


def _draw_burst(random: Random, schedule: Schedule, end: int) -> None:
    """Have a listener send more than `max_unsent` while nothing arrives."""
    limits = {"max_unsent": random.choice((0, 1000, 50_000)), "write_limit": random.choice((0, 100, 4096))}
    options = {"api": "listener", "patient": False, **limits}
    schedule.options.update({"window": 1 << 12, **{f"{end}.{name}": value for name, value in options.items()}})
    when = 0.1 + random.random()
    schedule.faults.append((when, end, "stall", 5))
    for _ in range(10):
        when += 0.02 * random.random()
        schedule.steps.append((when, end, "send", (0, random.choice((1000, 5000, 40_000)), False, None)))
    schedule.steps.sort(key=lambda step: step[0])


def draw_trio_schedule(seed: int) -> Schedule:
    """Return the schedule of a seed for `TrioWorld`: tasks are cancelled at steps too."""
    schedule = _draw(seed, "trio")
    random = Random(~seed)
    for number, (when, end, name, argument) in enumerate(schedule.faults):
        if name == "cancel" and random.random() < 0.7:
            schedule.faults[number] = when, end, "cancel_step", (random.randrange(40), argument)
    return schedule


def draw_threads_schedule(seed: int) -> Schedule:
    """Return the schedule of a seed for `ThreadsWorld`: in some a switch may come at any line."""
    schedule = _draw(seed, "threads")
    schedule.faults = [fault for fault in schedule.faults if not fault[2].startswith("cancel")]
    schedule.options["lines"] = Random(~seed).choice((0.0, 0.02, 0.1, 0.3))
    return schedule


def _draw(seed: int, driver: str) -> Schedule:
    """Return the schedule of a seed: some have a good network and good manners."""
    random = Random(seed)
    good = random.random() < 0.4
    schedule = Schedule(seed, {"good": good, **_draw_network(random)})
    scripted = None if good or random.random() < 0.7 else random.randrange(2)
    for end in (0, 1):
        drawn = _draw_scripted(random) if end == scripted else _draw_end(random, good)
        if driver != "asyncio":
            drawn = _without_listener(drawn, _ABSENT[driver])
        schedule.options.update({f"{end}.{name}": value for name, value in drawn.items()})
        schedule.steps += _draw_steps(random, end, good, end == scripted, schedule.options["cut"])
    for end in random.choice(((0,), (1,), (0, 1))) if scripted is None else (0, 1):
        schedule.steps.append((_LAST_STEP + random.random() * 0.01, end, "close", draw_close(random)))
    if not good:
        _draw_faults(random, schedule)
    elif random.random() < 0.5:
        _draw_cancellations(random, schedule)
    if not good and scripted != 1 and random.random() < 0.2:  # of the server
        schedule.options["1.rate_limit"] = draw_rate_limit(random)
    return schedule


def _without_listener(drawn: dict[str, Any], absent: set[str]) -> dict[str, Any]:
    """Return the options of an end on a driver that has neither listeners nor the settings `absent`."""
    if drawn.get("api") == "listener":
        absent = absent | {"api", "patient", "replies"}
    return {name: value for name, value in drawn.items() if name not in absent}


def _draw_network(random: Random) -> dict[str, Any]:
    options: dict[str, Any] = {
        "delay": random.choice((0.0001, 0.001, 0.01, 0.1)),
        "window": random.choice((1 << 12, 1 << 14, 1 << 16, 1 << 18)),
        "cut": random.choice((1, 20, 300, 5000, 40_000, 1 << 18, 1 << 18)),
    }
    if random.random() < 0.5:
        options["lag"] = random.choice((0.001, 0.01))
    if random.random() < 0.3:
        options["keeps_unread"] = True
    if random.random() < 0.3:
        options["compression"] = True
    if random.random() < 0.5:
        options["direct"] = True
    return options


def _draw_end(random: Random, good: bool) -> dict[str, Any]:
    options: dict[str, Any] = {}
    maybe = lambda probability: random.random() < probability  # noqa: E731
    if maybe(0.35):
        options["api"] = "listener"
        options["patient"] = good or maybe(0.5)
        options["replies"] = maybe(0.3)
    else:
        options["receiver"] = random.choice(("iterate", "iterate", "recv", "poll", "stream"))
        options["pause"] = random.choice((0.0, 0.0, 0.0, 0.001, 0.1))
        if maybe(0.2):
            options["leaves"] = _LAST_STEP * (1 if good else random.random())
        if not good and maybe(0.05):
            options["receiver"] = "absent"
    options["ping_interval"] = random.choice((None, 0.5, 1, 5))
    options["ping_timeout"] = random.choice((None, 5, 10)) if good else random.choice((None, 0, 0.5, 1, 3))
    options["close_timeout"] = 20 if good else random.choice((0, 0.5, 2, 10))
    options["open_timeout"] = 10 if good else random.choice((0, 1, 10))
    if maybe(0.3):
        options["max_queue"] = random.choice((None, 0, 1, 2, (4, 0), (8, 7)))
    if maybe(0.4):
        options["write_limit"] = random.choice((0, 100, 4096, (5000, 4999)))
    if maybe(0.2):
        options["fragment_size"] = random.choice((1000, 4096, 50_000))
    if maybe(0.3):
        options["piece_size"] = random.choice((100, 1000, 1 << 14))
    if not good:
        if maybe(0.2):
            options["max_size"] = random.choice((0, 100, 5000, 50_000, None))
        if maybe(0.2 if options.get("patient", True) else 0.6):
            options["max_unsent"] = random.choice((0, 1000, 50_000, None))
        if maybe(0.1):
            options["idle_timeout"] = random.choice((0, 1, 5))
        if maybe(0.1):
            options["total_timeout"] = random.choice((0, 1, 10))
        if maybe(0.1):
            options["send_close_reasons"] = False
    return options


def _draw_scripted(random: Random) -> dict[str, Any]:
    return {"api": "scripted", "peer": {name: False for name in MANNERS if random.random() < 0.2}}


def _draw_steps(random: Random, end: int, good: bool, scripted: bool, cut: int) -> list[Any]:
    steps: list[Any] = []
    largest = 8 if cut < 100 else len(SIZES)
    when = 0.05
    for _ in range(random.choice((0, 1, 3, 8, 20))):
        when += random.choice((0, 0, 0.0005, 0.01, 0.1, 1.0)) * random.random()
        if when > _LAST_STEP - 4:
            break
        size = SIZES[random.randrange(largest if random.random() < 0.4 else min(largest, 12))]
        text, sender = random.random() < 0.4, random.randrange(2)
        kind = random.random()
        if kind < 0.6:
            steps.append((when, end, "send", (sender, size, text, random.choice((None, None, False, True)))))
        elif kind < 0.75:
            sizes = tuple(random.randrange(size + 1) for _ in range(random.choice((1, 2, 6))))
            steps.append((when, end, "parts", (sender, sizes, text, random.choice((0, 0.001, 0.1)))))
        elif kind < 0.82:
            steps.append((when, end, "broadcast", (sender, min(size, 5000), text)))
        elif kind < 0.92:
            steps.append((when, end, "ping", random.random() < 0.5))
        elif scripted:
            steps.append((when, end, "flood", random.choice((10, 2000))))
        else:
            steps.append((when, end, "pong", None))
    if scripted and random.random() < 0.6:
        steps.append((0.05 + random.random() * when, end, "raw", random.choice(sorted(VIOLATIONS))))
    if not good and random.random() < 0.3:
        steps.append((0.05 + random.random() * when, end, "close", draw_close(random)))
    steps.sort(key=lambda step: step[0])
    return steps


def _moment(random: Random, schedule: Schedule) -> float:
    """Return a time at which something else happens, or shortly after it."""
    moments = [0.0, 0.05, _LAST_STEP, *(step[0] for step in schedule.steps)]
    delay: float = schedule.options["delay"]
    return random.choice(moments) + random.choice((0.0, 1e-6, delay, 3 * delay, 1.0)) * random.random()


def _draw_cancellations(random: Random, schedule: Schedule) -> None:
    for _ in range(random.choice((1, 3, 10))):
        schedule.faults.append((_moment(random, schedule), random.randrange(2), "cancel", random.randrange(3)))


def _draw_faults(random: Random, schedule: Schedule) -> None:
    for _ in range(random.choice((0, 1, 1, 2, 4))):
        when, end = _moment(random, schedule), random.randrange(2)
        kind = random.random()
        if kind < 0.3:
            schedule.faults.append((when, end, "stall", random.choice((0.1, 1, 5, inf, inf))))
        elif kind < 0.5:
            schedule.faults.append((when, end, "reset", None))
        elif kind < 0.6:
            schedule.faults.append((when, end, "fin", None))
        elif kind < 0.7:
            schedule.faults.append((when, end, "cancel_main", None))
        elif kind < 0.8:
            schedule.faults.append((when, end, "close_server", None))
        else:
            _draw_cancellations(random, schedule)
