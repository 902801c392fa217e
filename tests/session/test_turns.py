"""The order in which tasks send on one connection, with stand-ins for the tasks of an event loop."""

import pytest

from framewire import SERVER
from framewire.session.session import Session
from framewire.session.settings import ConnectionSettings
from framewire.session.turns import Turns

pytestmark = pytest.mark.both_backends


class Suspend:
    def __await__(self):
        yield


class Event:
    """An event for the tasks of `World`."""

    def __init__(self):
        self.is_set = False

    def set(self):
        self.is_set = True

    async def wait(self):
        while not self.is_set:
            await Suspend()


class World:
    """A session whose transport has room for so many messages, and tasks that send on it."""

    def __init__(self, at_once=1):
        self.session = Session(SERVER, ConnectionSettings(), 0)
        self.turns = Turns(self.session, Event, at_once)
        self.sent = []
        self.room = 0
        self.tasks = []

    def start(self, name, messages=1, *, whole=True):
        """Start a task that sends messages, one after the other."""
        return self.run(self._send(name, messages, whole))

    def run(self, task):
        self.tasks.append(task)
        self._step(task)
        return task

    async def _send(self, name, messages, whole):
        for _ in range(messages):
            await self.turn(whole)
            self.send(name)

    async def turn(self, whole):
        """Wait as a driver does."""
        if self.turns.must_wait(whole):
            try:
                await self.turns.wait(whole)
            finally:
                if not self.turns.calls_next:
                    self.turns.give()

    def send(self, name):
        if not self.session.over:
            self.sent.append(name)
            self.room -= 1
            if self.room <= 0:
                self.session.pause_writing(1)

    def make_room(self, messages):
        """Let the transport take so many messages, and run the tasks."""
        self.room = messages
        self.session.resume_writing()
        self.turns.give()
        self.step()

    def step(self):
        """Run all tasks until each of them waits."""
        for _ in range(20):
            for task in list(self.tasks):
                self._step(task)
            self.turns.give()

    def _step(self, task):
        try:
            task.send(None)
        except StopIteration:
            self.tasks.remove(task)

    def cancel(self, task):
        self.tasks.remove(task)
        task.close()

    def begin_parts(self):
        self.turns.in_parts = True

    def end_parts(self):
        self.turns.in_parts = False
        self.turns.give()


@pytest.fixture(params=[1, 2, 16])
def full(request):
    """A world whose transport is full; so many tasks are woken together."""
    world = World(request.param)
    world.session.pause_writing(1)
    return world


def test_tasks_send_in_the_order_in_which_they_came_though_one_sends_again_and_again(full):
    world = full
    world.start("greedy", 5)
    world.start("a", 2)
    world.start("b")
    for _ in range(8):
        world.make_room(1)
    assert world.sent == ["greedy", "a", "b", "greedy", "a", "greedy", "greedy", "greedy"]
    assert world.tasks == []


@pytest.mark.parametrize(("arguments", "woken"), [((), 1), ((1,), 1), ((2,), 2), ((16,), 3)])
def test_so_many_tasks_are_woken_together(arguments, woken):
    session, events = Session(SERVER, ConnectionSettings(), 0), []

    def new_event():
        events.append(Event())
        return events[-1]

    turns = Turns(session, new_event, *arguments)
    session.pause_writing(1)
    tasks = [turns.wait(whole=True) for _ in range(3)]
    for task in tasks:
        task.send(None)
    session.resume_writing()
    turns.give()
    assert [event.is_set for event in events] == [number < woken for number in range(3)]


def test_newcomer_does_not_pass_those_who_wait(full):
    world = full
    world.start("first")
    world.room = 10
    world.session.resume_writing()
    world.turns.give()  # the first task has got its turn, but not run yet
    assert world.turns.blocked
    world.start("newcomer")
    assert world.sent == []
    world.step()
    assert world.sent == ["first", "newcomer"]
    assert not world.turns.blocked


def test_task_that_finds_no_room_any_more_waits_on_as_the_first(full):
    world = full
    world.start("a")
    world.start("b")
    world.session.resume_writing()
    world.turns.give()
    world.session.pause_writing(1)  # by a control frame perhaps
    world.step()
    assert world.sent == []
    world.make_room(2)
    assert world.sent == ["a", "b"]


def test_cancelled_task_passes_its_turn_on(full):
    world = full
    cancelled = [world.start(name) for name in ("a", "b")]
    world.start("c")
    world.cancel(cancelled[1])
    world.room = 10
    world.session.resume_writing()
    world.turns.give()
    world.cancel(cancelled[0])  # it has got its turn
    world.step()
    assert world.sent == ["c"]
    assert not world.turns.blocked


def test_parts_and_control_frames_pass_whole_messages_while_one_is_sent_in_parts():
    world = World()
    world.begin_parts()
    world.start("whole")
    world.room = 10
    world.start("part", whole=False)
    world.session.pause_writing(1)
    world.start("part", whole=False)
    world.start("ping", whole=False)
    world.make_room(10)
    assert world.sent == ["part", "part", "ping"]
    world.end_parts()
    world.step()
    assert world.sent == ["part", "part", "ping", "whole"]


def test_control_frames_wait_their_turn_while_no_message_is_sent_in_parts(full):
    world = full
    world.start("whole")
    world.start("ping", whole=False)
    world.start("whole")
    for _ in range(3):
        world.make_room(1)
    assert world.sent == ["whole", "ping", "whole"]


def test_message_in_parts_begins_before_those_who_came_later(full):
    world = full

    async def send_parts():
        await world.turn(True)
        world.begin_parts()
        for _ in range(3):
            await world.turn(False)
            world.send("part")
            await Suspend()
        world.end_parts()

    world.run(send_parts())
    world.start("whole")
    for _ in range(4):
        world.make_room(1)
    assert world.sent == ["part"] * 3 + ["whole"]


def test_nobody_waits_while_there_is_room_and_after_the_end():
    world = World()
    assert not world.turns.must_wait(True)
    world.session.pause_writing(1)
    assert world.turns.must_wait(True)
    world.session.receive_eof(0)
    assert not world.turns.must_wait(True)


def test_function_is_called_in_its_turn(full):
    world = full
    world.start("before")
    world.turns.add(lambda: world.send("held"))
    world.turns.add(lambda: world.send("held too"))
    world.start("after")
    expected = ["before", "held", "held too", "after"]
    for number in range(4):
        world.make_room(1)
        assert world.sent == expected[: number + 1]


def test_function_waits_while_everybody_has_to_wait():
    world = World()
    world.room = 10
    world.turns.paused = True
    world.turns.add(lambda: world.send("held"))
    world.turns.give()
    assert world.sent == []
    world.turns.paused = False
    world.turns.give()
    assert world.sent == ["held"]


def test_function_is_called_at_once_if_nobody_is_before_it():
    world = World()
    world.room = 10
    world.begin_parts()
    world.turns.add(lambda: world.send("held"))
    world.turns.give()
    assert world.sent == []
    world.end_parts()
    assert world.sent == ["held"]


def test_end_of_the_connection_wakes_all_and_calls_the_functions(full):
    world = full
    called = []
    world.begin_parts()
    for name in ("a", "b", "c"):
        world.start(name)
        world.turns.add(lambda: called.append(True))
    world.session.receive_eof(0)
    world.turns.give()
    world.step()
    assert world.tasks == []
    assert world.sent == []
    assert called == [True] * 3
    world.start("late")
    assert world.tasks == []


def test_functions_can_be_called_before_there_is_room():
    world, called = World(), []
    world.session.pause_writing(1)
    world.start("task")
    world.turns.add(lambda: called.append(1))
    world.turns.add(lambda: world.turns.add(lambda: called.append(3)))
    world.turns.add(lambda: called.append(2))
    world.turns.call_all()
    assert (called, world.sent) == ([1, 2], [])
    world.turns.call_all()
    assert called == [1, 2, 3]
    world.session.resume_writing()
    assert world.turns.blocked  # by the task
