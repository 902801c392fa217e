"""The chat room of `framewire serve`, and its HTML page.

The protocol is JSON, one object in each text message. The client sends `{"say": text}` and
`{"name": name}`. The server sends objects with a `type`: `you` (id, name), `people` (a list of id
and name), `said` (id, name, text) and `note` (text).

A `Relay` connects the rooms of several processes into one chat: each room publishes there the
messages for its own clients, and the list of these clients.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from importlib.resources import files
from itertools import chain, count
from secrets import randbits
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

from ..asyncio import ServerConnection, Topics

if TYPE_CHECKING:
    from ..relay import Relay

__all__ = ["Room", "page"]

#: The topic that everybody in the room is subscribed to.
TOPIC: Final = "chat"

#: Longest name, in characters; longer ones are cut.
MAX_NAME: Final = 32

#: Longest text of one message, in characters.
MAX_TEXT: Final = 2000

#: Seconds between announcements of a room's people to other rooms; a room that misses three of them
#: counts as gone.
ANNOUNCE_INTERVAL: Final = 5.0


def page() -> bytes:
    """Return the HTML page, which loads nothing from other servers."""
    return files(__package__).joinpath("chat.html").read_bytes()


class Room:
    """The people connected to this process, and those in the rooms of other processes.

    A person is a dictionary of `id` and `name`. Other rooms are known by the id of their relay.
    """

    def __init__(self) -> None:
        self._relay: Relay | None = None
        self._topics = Topics()
        self._first_id = 0
        self._ids = count(1)
        self._people: dict[ServerConnection, dict[str, Any]] = {}
        #: The time of the last announcement of each other room, and its people.
        self._other_rooms: dict[str, tuple[float, list[dict[str, Any]]]] = {}

    async def serve(self, connection: ServerConnection) -> None:
        """Serve one person, whose name may be in the query of the request: `?name=Ada`."""
        assert connection.request is not None
        query = parse_qs(connection.request.target.partition("?")[2])
        number = next(self._ids)
        candidates = chain([query.get("name", [""])[0]], (f"Guest {each}" for each in count(number)))
        name = next(name for candidate in candidates if (name := self._free_name(candidate)))
        person = {"id": self._first_id + number, "name": name}
        self._people[connection] = person
        try:
            self._topics.subscribe(connection, TOPIC)
            await connection.send(_encode("you", **person))
            self._announce(f"{name} joined")
            async for message in connection:
                await self._handle_message(connection, person, message)
        finally:
            del self._people[connection]
            self._topics.unsubscribe(connection, TOPIC)
            self._announce(f"{person['name']} left")

    async def _handle_message(self, connection: ServerConnection, person: dict[str, Any], message: str | bytes) -> None:
        try:
            command = json.loads(message) if isinstance(message, str) else None
        except (ValueError, RecursionError):
            command = None
        match command:
            case {"say": str(text)} if 0 < len(text) <= MAX_TEXT:
                self._send_to_all("said", **person, text=text)
            case {"name": str(wanted)}:
                await self._rename(connection, person, wanted)
            case _:
                await connection.close(1008, "not a message of this chat")

    async def _rename(self, connection: ServerConnection, person: dict[str, Any], wanted: str) -> None:
        if wanted == person["name"]:
            return
        if name := self._free_name(wanted):
            former, person["name"] = person["name"], name
            await connection.send(_encode("you", **person))
            self._announce(f"{former} is now {name}")
        else:
            await connection.send(_encode("note", text="That name is taken or not valid."))
            await connection.send(_encode("you", **person))

    def _free_name(self, wanted: str) -> str | None:
        """Return `wanted` with normalized spaces; None if it is not a valid name or is taken."""
        name = " ".join(wanted.split())[:MAX_NAME].strip()
        taken = {person["name"].casefold() for person in self._all_people()}
        return name if name.isprintable() and name.casefold() not in taken | {""} else None

    def _all_people(self) -> Iterable[dict[str, Any]]:
        return chain(self._people.values(), *(people for _, people in self._other_rooms.values()))

    def _announce(self, text: str) -> None:
        self._send_people()
        self._publish_people()
        self._send_to_all("note", text=text)

    def _send_people(self) -> None:
        self._topics.publish(TOPIC, _encode("people", people=list(self._all_people())))

    def _publish_people(self) -> None:
        if self._relay:
            self._relay.publish(_encode("people", people=list(self._people.values())))

    def _send_to_all(self, kind: str, **fields: Any) -> None:
        message = _encode(kind, **fields)
        self._topics.publish(TOPIC, message)
        if self._relay:
            self._relay.publish(message)

    # Other rooms

    async def join(self, relay: Relay) -> None:
        """Exchange people and messages with the rooms on a relay, until cancelled.

        The relay must have been created with `receive` as its callback.
        """
        self._relay = relay
        self._first_id = randbits(32) << 20
        while True:
            self._publish_people()
            await asyncio.sleep(ANNOUNCE_INTERVAL)
            expired = asyncio.get_running_loop().time() - 3 * ANNOUNCE_INTERVAL
            for room, (last_announcement, _) in list(self._other_rooms.items()):
                if last_announcement < expired:
                    del self._other_rooms[room]
                    self._send_people()

    def receive(self, room: str, message: str) -> None:
        """Handle a message that another room published."""
        match json.loads(message):
            case {"type": "people", "people": people}:
                known = self._other_rooms.get(room)
                self._other_rooms[room] = asyncio.get_running_loop().time(), people
                if known is None or known[1] != people:
                    self._send_people()
                if known is None:  # a new room does not know the people of this one yet
                    self._publish_people()
            case _:
                self._topics.publish(TOPIC, message)


def _encode(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind, **fields})
