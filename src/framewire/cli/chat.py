"""The chat room of `framewire serve`, and its page.

The room speaks JSON, one object in each text message. To the server: `{"say": text}` and `{"name": name}`. From it,
by `type`: `you` (id, name), `people` (a list of id and name), `said` (id, name, text) and `note` (text).
"""

from __future__ import annotations

import json
from importlib.resources import files
from itertools import count
from typing import Any, Final
from urllib.parse import parse_qs

from ..asyncio import ServerConnection, broadcast

__all__ = ["Room", "page"]

#: The longest name, in characters.
MAX_NAME: Final = 32

#: The longest line that one person may say, in characters.
MAX_TEXT: Final = 2000


def page() -> bytes:
    """The page: HTML that needs nothing but this server."""
    return files(__package__).joinpath("chat.html").read_bytes()


class Room:
    """Everyone who is connected, by id and name."""

    def __init__(self) -> None:
        self._ids = count(1)
        self._people: dict[ServerConnection, dict[str, Any]] = {}

    async def talk(self, connection: ServerConnection) -> None:
        """Serves one person; the query of the request may bring a name: `?name=Ada`."""
        assert connection.request is not None
        query = parse_qs(connection.request.target.partition("?")[2])
        number = next(self._ids)
        name = self._free_name(query.get("name", [""])[0]) or f"Guest {number}"
        person = {"id": number, "name": name}
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
        taken = {person["name"].casefold() for person in self._people.values()}
        return name if name.isprintable() and name.casefold() not in taken | {""} else None

    def _announce(self, text: str) -> None:
        self._tell("people", people=list(self._people.values()))
        self._tell("note", text=text)

    def _tell(self, kind: str, **fields: Any) -> None:
        broadcast(self._people, _encode(kind, **fields))


def _encode(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind, **fields})
