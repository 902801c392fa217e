"""Faults that the simulation has to find: each changes one thing of the library under test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from framewire.protocol import stream
from framewire.protocol.masking_keys import KeyPool
from framewire.protocol.stream import Stream
from framewire.session.close_state import CloseState
from framewire.session.keepalive import Keepalive
from framewire.session.message_queue import MessageQueue
from framewire.session.rate_limit import Budget
from framewire.session.session import Ending, Session

__all__ = ["SESSION_FAULTS"]

#: What makes the fault, and the properties one of which must not hold then.
Fault = tuple[Callable[[pytest.MonkeyPatch], None], set[str]]


def _replace(target: Any, name: str, make: Callable[[Any], Any]) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda monkeypatch: monkeypatch.setattr(target, name, make(getattr(target, name)))


def _nothing(original: Any) -> Any:
    return lambda *_: None


def _returns(value: object) -> Any:
    return lambda original: lambda *_, **__: value


def _ignore(setting: str) -> Callable[[pytest.MonkeyPatch], None]:
    """Have sessions without a limit, whatever their settings say."""
    return _change(setting, lambda _: None)


def _double_time(setting: str) -> Callable[[pytest.MonkeyPatch], None]:
    """Have sessions that take twice the time that their settings say, and a second more."""
    return _change(setting, lambda value: None if value is None else 2 * value + 1)


def _change(setting: str, change: Callable[[Any], Any]) -> Callable[[pytest.MonkeyPatch], None]:
    def make(original: Any) -> Any:
        def init(session: Session, role: Any, settings: Any, *arguments: Any, **options: Any) -> None:
            changed = replace(settings, **{setting: change(getattr(settings, setting))})
            original(session, role, changed, *arguments, **options)

        return init

    return _replace(Session, "__init__", make)


def _lose(put: Any) -> Any:
    def put_most(queue: MessageQueue, items: list[Any], size: int) -> None:
        if len(items) > 1:
            size -= len(getattr(items[-1], "data", items[-1]))
            del items[-1]
        put(queue, items, size)

    return put_most


def _drop_held_back(receive_rest: Any) -> Any:
    def drop(session: Session, now: float) -> Any:
        session._held_back = b""
        return receive_rest(session, now)

    return drop


def _double(put: Any) -> Any:
    def put_again(queue: MessageQueue, items: list[Any], size: int) -> None:
        put(queue, items * 2, size * 2)

    return put_again


def _reorder(put: Any) -> Any:
    def put_backwards(queue: MessageQueue, items: list[Any], size: int) -> None:
        put(queue, items[::-1], size)

    return put_backwards


def _send_backwards(data_to_send: Any) -> Any:
    def send(session: Session) -> Any:
        session.output.reverse()
        return data_to_send(session)

    return send


def _other_code(close: Any) -> Any:
    return lambda session, code, reason, now: close(session, 1001 if code == 1000 else code, reason, now)


def _other_reason(close: Any) -> Any:
    return lambda session, code, reason, now: close(session, code, reason[:2], now)


def _end_both(note_end: Any) -> Any:
    def end(session: Session, now: float) -> None:
        note_end(session, now)
        if session.ending is Ending.WAIT:
            session.ending = Ending.OUTPUT

    return end


def _forget_order(note: Any) -> Any:
    def note_received(state: CloseState, event: Any) -> None:
        note(state, event)
        state.rcvd_then_sent = state.rcvd_then_sent and None

    return note_received


def _same_key(refill: Any) -> Any:
    def refill_with_one(pool: KeyPool) -> bytes:
        key: bytes = refill(pool)
        pool.pop()
        pool.append(key)
        return key

    return refill_with_one


def _held_for_ever(note: Any) -> Any:
    def note_events(session: Session, events: Any, now: float) -> Any:
        remaining = note(session, events, now)
        session._fail_at = None
        return remaining

    return note_events


def _keep(name: str) -> Any:
    """Have a call leave an attribute as it was."""

    def make(original: Any) -> Any:
        def call(session: Session, *arguments: Any) -> Any:
            value = getattr(session, name)
            result = original(session, *arguments)
            setattr(session, name, value)
            return result

        return call

    return make


def _later(next_time: Any) -> Any:
    return lambda budget: next_time(budget) + 1.0


SESSION_FAULTS: dict[str, Fault] = {
    "a message is lost": (_replace(MessageQueue, "put", _lose), {"mixed", "lost"}),
    "what is held back is lost at the end": (_replace(Session, "_receive_rest", _drop_held_back), {"lost"}),
    "a message is doubled": (_replace(MessageQueue, "put", _double), {"mixed", "doubled or made up"}),
    "messages are reordered": (_replace(MessageQueue, "put", _reorder), {"mixed"}),
    "frames are reordered": (_replace(Session, "data_to_send", _send_backwards), {"wire", "mixed"}),
    "another close code": (_replace(Session, "close", _other_code), {"close"}),
    "another close reason": (_replace(Session, "close", _other_reason), {"close"}),
    "another code in the answer": (_replace(stream, "_answer_close", _returns(b"\x03\xe8")), {"close"}),
    "the client ends TCP first": (_replace(Session, "_note_end", _end_both), {"end of TCP"}),
    "the order of close frames is unknown": (_replace(CloseState, "note_received", _forget_order), {"close"}),
    "the wrong exception": (
        _replace(CloseState, "orderly", lambda _: property(lambda _: False)),
        {"error", "exception"},
    ),
    "no deadline of the end": (_replace(Session, "_limit_end", _nothing), {"deadline"}),
    "no close_timeout": (_ignore("close_timeout"), {"deadline"}),
    "no deadline of a failure": (_replace(Session, "_note", _held_for_ever), {"deadline"}),
    "a longer close_timeout": (_double_time("close_timeout"), {"deadline"}),
    "a longer ping_timeout": (_double_time("ping_timeout"), {"keepalive"}),
    "a longer ping_interval": (_double_time("ping_interval"), {"keepalive"}),
    "a longer idle_timeout": (_double_time("idle_timeout"), {"idle_timeout"}),
    "a longer total_timeout": (_double_time("total_timeout"), {"total_timeout"}),
    "no ping_timeout": (_ignore("ping_timeout"), {"keepalive"}),
    "no pings": (_replace(Keepalive, "is_due", _returns(False)), {"timer", "keepalive"}),
    "a keepalive without patience": (_replace(Keepalive, "is_overdue", _returns(True)), {"keepalive", "close"}),
    "no idle_timeout": (_ignore("idle_timeout"), {"idle_timeout"}),
    "no total_timeout": (_ignore("total_timeout"), {"total_timeout"}),
    "no rate_limit": (_ignore("rate_limit"), {"rate_limit"}),
    "a longer pause for rate_limit": (_replace(Budget, "next_time", _later), {"rate_limit"}),
    "no max_size": (_ignore("max_size"), {"offence", "doubled or made up", "max_size"}),
    "a masking key comes twice": (_replace(KeyPool, "refill", _same_key), {"wire"}),
    "data after the close frame": (_replace(Stream, "_check_open", _nothing), {"wire"}),
    "a queue without a limit": (_replace(MessageQueue, "is_above", _returns(False)), {"queue"}),
    "no max_queue": (_ignore("max_queue"), {"queue"}),
    "reading is not resumed": (_replace(Session, "taken", _nothing), {"queue", "held back", "close"}),
    "reading is not resumed with writing": (_replace(Session, "resume_writing", _keep("reading")), {"replies"}),
    "no max_unsent": (_ignore("max_unsent"), {"max_unsent"}),
    "senders do not wait": (_replace(Session, "pause_writing", _keep("write_paused")), {"write buffer"}),
    "a timeout is no cause": (_replace(CloseState, "note_cause", _nothing), {"close"}),
    "pongs of the program are lost": (_replace(Session, "pong", _nothing), {"pongs"}),
    "pongs are lost": (_replace(Session, "_queue_replies", _nothing), {"pongs", "close"}),
}
