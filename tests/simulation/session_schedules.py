"""Draws schedules for `SessionWorld`."""

from __future__ import annotations

from math import inf
from random import Random
from typing import Any

from framewire.session.rate_limit import RateLimit

from .schedule import Schedule
from .violations import VIOLATIONS

__all__ = ["SIZES", "draw_close", "draw_rate_limit", "draw_session_schedule"]

#: Sizes of messages: those at which the header grows, and those that go other ways.
SIZES = (1, 2, 5, 20, 100, 125, 126, 500, 1000, 4000, 4096, 5000, 16_000, 40_000, 65_535, 65_536, 70_000, 150_000)

#: When the ends close, in seconds: after all deadlines of an end with bad manners.
_LAST_STEP = 12.0


def draw_session_schedule(seed: int) -> Schedule:
    """Return the schedule of a seed: nearly half of them have a good network and good manners."""
    random = Random(seed)
    good = random.random() < 0.45
    schedule = Schedule(seed, {"good": good, **_draw_world(random)})
    for end in (0, 1):
        schedule.options.update({f"{end}.{name}": value for name, value in _draw_end(random, good).items()})
        schedule.steps += _draw_steps(random, end, good, schedule.options)
    if "0.max_size" in schedule.options or "1.max_size" in schedule.options:
        # Else it is not known which of the messages that are too long are sent.
        schedule.options = {name: value for name, value in schedule.options.items() if name[2:] != "max_send_size"}
    if good or random.random() < 0.8:
        for end in random.choice(((0,), (1,), (0, 1))):
            schedule.steps.append((_LAST_STEP + random.random() * 0.01, end, "close", draw_close(random)))
    if not good:
        schedule.faults += _draw_faults(random)
    callbacks = [end for end in (0, 1) if not schedule.options.get(f"{end}.queue", True)]
    if callbacks and random.random() < 0.5:  # only one end replies: two would reply for ever
        size = random.choice((20, 5000) if good else (20, 5000, 70_000))
        schedule.options[f"{random.choice(callbacks)}.replies"] = size
    if not good and random.random() < 0.15:
        _draw_burst(random, schedule)
    if not good and random.random() < 0.25:
        schedule.options[f"{random.randrange(2)}.rate_limit"] = draw_rate_limit(random)
    return schedule


def _draw_burst(random: Random, schedule: Schedule) -> None:
    """Have an end send much at once to one that has no room, which loses the connection then."""
    end, when = random.randrange(2), random.random()
    options = schedule.options
    options.pop("cut", None)
    if random.random() < 0.7:
        options["compression"] = True  # so that input is held back
    options[f"{1 - end}.queue"] = True
    options[f"{1 - end}.receiver"] = random.choice((0.05, 0.4, None))
    options[f"{1 - end}.max_queue"] = random.choice((1, 2, (4, 0)))
    for _ in range(20):
        step = (random.choice((500, 2000, 5000)), random.random() < 0.4, random.choice((None, False, False)))
        schedule.steps.append((when, end, "send", step))
    # It reads all of them in one go, and then it may be lost.
    schedule.faults.append((when, 1 - end, "busy", 0.1))
    when += max(0.1, options["delay"]) + random.choice((0.001, 0.05, 0.5)) * random.random()
    schedule.faults.append((when, random.randrange(2), random.choice(("reset", "reset", "fin")), None))


def _draw_world(random: Random) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if random.random() < 0.3:
        options["compression"] = True
    options["delay"] = random.choice((0.0001, 0.001, 0.01, 0.1))
    if random.random() < 0.5:
        options["window"] = random.choice((1 << 12, 1 << 14, 1 << 18))
    if random.random() < 0.6:
        options["cut"] = (
            random.choice((1, 3, 20, 300, 5000)) if random.random() < 0.5 else random.choice((5000, 40_000))
        )
    if random.random() < 0.3:
        options["keeps_unread"] = True
    return options


def _draw_end(random: Random, good: bool) -> dict[str, Any]:
    options: dict[str, Any] = {}
    maybe = lambda probability: random.random() < probability  # noqa: E731
    if maybe(0.3):
        options["queue"] = False
    if maybe(0.2):
        options["fragments"] = True
    if maybe(0.1):
        options["auto_close"] = False
    if maybe(0.1):
        options["auto_pong"] = False
    options["receiver"] = (
        random.choice((0.0, 0.0, 0.001, 0.05)) if good else random.choice((0.0, 0.001, 0.05, 0.4, None))
    )
    if maybe(0.2):
        options["pieces"] = True
    if not good and maybe(0.3):
        options["patient"] = False
    if maybe(0.2):
        options["late"] = random.choice((0.01, 0.3))
    options["ping_interval"] = random.choice((None, 0.5, 2, 5))
    options["ping_timeout"] = random.choice((None, 3, 10)) if good else random.choice((None, 0, 0.5, 1, 3))
    options["close_timeout"] = random.choice((None, 20)) if good else random.choice((None, 0, 0.5, 2, 10))
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
        if maybe(0.2):
            options["max_unsent"] = random.choice((0, 1000, 50_000, None))
        if maybe(0.1):
            options["max_send_size"] = random.choice((0, 1000, 50_000))
        if maybe(0.1):
            options["idle_timeout"] = random.choice((0, 1, 5))
        if maybe(0.1):
            options["total_timeout"] = random.choice((0, 1, 10))
        if maybe(0.1):
            options["send_close_reasons"] = False
    return options


def draw_rate_limit(random: Random) -> RateLimit:
    messages, size = random.choice(((1, None), (5, None), (30, 20_000), (None, 1000), (None, 50_000)))
    return RateLimit(messages, size, seconds=random.choice((0.05, 1.0)), close=random.random() < 0.2)


def _draw_steps(random: Random, end: int, good: bool, options: dict[str, Any]) -> list[Any]:
    steps: list[Any] = []
    largest = 8 if options.get("cut", 1000) < 100 else len(SIZES)
    when = 0.0
    for _ in range(random.choice((0, 2, 5, 12, 30))):
        when += random.choice((0, 0, 0.0005, 0.01, 0.1, 1.0)) * random.random()
        if when > _LAST_STEP - 2:
            break
        size, text = (
            SIZES[random.randrange(largest if random.random() < 0.3 else min(largest, 12))],
            random.random() < 0.4,
        )
        kind = random.random()
        if kind < 0.55:
            steps.append((when, end, "send", (size, text, random.choice((None, None, None, False, True)))))
        elif kind < 0.7:
            count = random.choice((2, 3, 8))
            sizes = tuple(random.randrange(size + 1) for _ in range(count))
            steps.append((when, end, "fragments", (sizes, text, random.choice((0, 0.001, 0.2)))))
        elif kind < 0.75:
            steps.append((when, end, "steps", (size, text, random.choice((0, 0.001)))))
        elif kind < 0.82:
            steps.append((when, end, "broadcast", (min(size, 5000), text)))
        elif kind < 0.9:
            steps.append((when, end, "ping", None))
        elif kind < 0.95:
            steps.append((when, end, "pong", None))
        elif not good:
            steps.append((when, end, random.choice(("pieces", "lose_receiver")), None))
    # What comes at the time of another step arrives in one read with it, or nearly so.
    moments = [step[0] for step in steps] or [0.0]
    if not good and random.random() < 0.25:
        at = random.choice(moments) if random.random() < 0.5 else random.random() * (when + 1)
        steps.append((at, end, "raw", (random.choice(sorted(VIOLATIONS)),)))
    if not good and random.random() < 0.3:
        at = random.choice(moments) if random.random() < 0.5 else random.random() * (when + 1)
        steps.append((at, end, "close", draw_close(random)))
    return steps


def draw_close(random: Random) -> tuple[int | None, str]:
    return random.choice(((1000, ""), (1000, "bye"), (1001, "é" * 20), (4001, "x" * 123), (None, ""), (1011, "")))


def _draw_faults(random: Random) -> list[Any]:
    faults: list[Any] = []
    for _ in range(random.choice((0, 1, 1, 2, 4))):
        when, end = random.choice((0.01, 0.1, 1, 5, _LAST_STEP + 0.1)) * random.random(), random.randrange(2)
        kind = random.random()
        if kind < 0.4:
            faults.append((when, end, "stall", random.choice((0.1, 1, 5, inf)) if random.random() < 0.5 else inf))
        elif kind < 0.55:
            faults.append((when, end, "reset", None))
        elif kind < 0.7:
            faults.append((when, end, "fin", None))
        else:
            faults.append((when, end, "busy", random.choice((0.01, 0.5, 3))))
    return faults
