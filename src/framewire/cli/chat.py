"""The chat room of `framewire serve`, and its page.

The room speaks JSON, one object in each text message. To the server: `{"say": text}` and `{"name": name}`. From it,
by `type`: `you` (id, name), `people` (a list of id and name), `said` (id, name, text) and `note` (text).

Rooms in several processes are one by a `Relay`: each tells the others what it tells its own people, and who these are.
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

from ..asyncio import ServerConnection, broadcast

if TYPE_CHECKING:
    from ..relay import Relay

__all__ = ["Room", "page"]

#: The longest name, in characters.
MAX_NAME: Final = 32

#: The longest line that one person may say, in characters.
MAX_TEXT: Final = 2000


def page() -> bytes:
    """The page: HTML that needs nothing but this server."""
    return files(__package__).joinpath("chat.html").read_bytes()


#: How often a room says who is there, in seconds; a room that said nothing for three times as long has gone.
PULSE: Final = 5.0


class Room:
    """Everyone who is connected, by id and name; and who is in other rooms, by the id of their relay."""

    def __init__(self) -> None:
        self._relay: Relay | None = None
        self._first_id = 0
        self._ids = count(1)
        self._people: dict[ServerConnection, dict[str, Any]] = {}
        self._elsewhere: dict[str, tuple[float, list[dict[str, Any]]]] = {}

    async def talk(self, connection: ServerConnection) -> None:
        """Serves one person; the query of the request may bring a name: `?name=Ada`."""
        assert connection.request is not None
        query = parse_qs(connection.request.target.partition("?")[2])
        number = next(self._ids)
        wishes = chain([query.get("name", [""])[0]], (f"Guest {each}" for each in count(number)))
        name = next(name for wish in wishes if (name := self._free_name(wish)))
        person = {"id": self._first_id + number, "name": name}
        self._people[connection] = person
        try:
            await connection.send(_encode("you", **person))
            self._announce(f"{name} joined")
            async for message in connection:
                await self._hear(connection, person, message)
        finally:
            del self._people[connection]
            self._announce(f"{person['name']} left")

    async def _hear(self, connection: ServerConnection, person: dict[str, Any], message: str | bytes) -> None:
        try:
            said = json.loads(message) if isinstance(message, str) else None
        except (ValueError, RecursionError):
            said = None
        match said:
            case {"say": str(text)} if 0 < len(text) <= MAX_TEXT:
                self._tell("said", **person, text=text)
            case {"name": str(wish)}:
                if wish == person["name"]:
                    return
                if name := self._free_name(wish):
                    former, person["name"] = person["name"], name
                    await connection.send(_encode("you", **person))
                    self._announce(f"{former} is now {name}")
                else:
                    await connection.send(_encode("note", text="That name is taken or not a name."))
                    await connection.send(_encode("you", **person))
            case _:
                await connection.close(1008, "not a message of this chat")

    def _free_name(self, wish: str) -> str | None:
        """`wish` with its spaces set right, if it can be a name and nobody has it."""
        name = " ".join(wish.split())[:MAX_NAME].strip()
        taken = {person["name"].casefold() for person in self._everyone()}
        return name if name.isprintable() and name.casefold() not in taken | {""} else None

    def _everyone(self) -> Iterable[dict[str, Any]]:
        return chain(self._people.values(), *(people for _, people in self._elsewhere.values()))

    def _announce(self, text: str) -> None:
        self._show_people()
        self._tell_rooms_who_is_here()
        self._tell("note", text=text)

    def _show_people(self) -> None:
        broadcast(self._people, _encode("people", people=list(self._everyone())))

    def _tell_rooms_who_is_here(self) -> None:
        if self._relay:
            self._relay.publish(_encode("people", people=list(self._people.values())))

    def _tell(self, kind: str, **fields: Any) -> None:
        message = _encode(kind, **fields)
        broadcast(self._people, message)
        if self._relay:
            self._relay.publish(message)

    # With other rooms.

    async def join(self, relay: Relay) -> None:
        """Makes one room of this and those at the relay, which gives what it hears to `overhear`; until cancelled."""
        self._relay = relay
        self._first_id = randbits(32) << 20
        while True:
            self._tell_rooms_who_is_here()
            await asyncio.sleep(PULSE)
            last = asyncio.get_running_loop().time() - 3 * PULSE
            for room, (heard, _) in list(self._elsewhere.items()):
                if heard < last:
                    del self._elsewhere[room]
                    self._show_people()

    def overhear(self, room: str, message: str) -> None:
        """What another room has told its people."""
        match json.loads(message):
            case {"type": "people", "people": people}:
                known = self._elsewhere.get(room)
                self._elsewhere[room] = asyncio.get_running_loop().time(), people
                if known is None or known[1] != people:
                    self._show_people()
                if known is None:  # it does not know this one either
                    self._tell_rooms_who_is_here()
            case _:
                broadcast(self._people, message)


def _encode(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind, **fields})
