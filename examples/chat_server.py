"""A full-duplex chat: every client has a thread that receives, and whoever has something to say sends to all.

A message is "command|id|text". From a client: `||text` says something to all, `private|id|text` to one, `name||new`
takes a name, `ping|id|` measures how far away somebody is. From the server: `userinit` (this is you), `useradd`,
`userdel`, `username`, `regular`, `private`, `ping` (in ms), `moderator`, `error`. The page is at /, the WebSocket at
/ChatServerWebSocket.
"""

import sys
import threading
import time
from contextlib import suppress
from itertools import count
from pathlib import Path

from framewire import ConnectionClosed
from framewire.handshake import Headers, Response
from framewire.sync import serve

PAGE = Path(__file__).with_name("chat_server.html")


class Chat:
    """Everyone who is connected, by number."""

    def __init__(self):
        self._lock = threading.Lock()
        self._numbers = count(1)
        self._users = {}  # number: [name, connection]

    def talk(self, connection):
        """Serves one client."""
        number = next(self._numbers)
        name = f"User{number}"
        with self._lock:
            connection.send(f"userinit|{number}|{name}")
            for other, (other_name, _) in self._users.items():
                connection.send(f"useradd|{other}|{other_name}")
            self._users[number] = [name, connection]
        self._tell_all(f"useradd|{number}|{name}", number)
        connection.send("moderator||Welcome! Change your name, or just talk.")
        try:
            for message in connection:
                self._hear(number, connection, message)
        finally:
            with self._lock:
                del self._users[number]
            self._tell_all(f"userdel|{number}|")

    def _hear(self, number, connection, message):
        parts = message.split("|", 2) if isinstance(message, str) else []
        command, target, text = parts if len(parts) == 3 else (None, "", "")
        if command == "" and text:
            self._tell_all(f"regular|{number}|{text}")
        elif command == "name":
            self._rename(number, connection, text)
        elif command in ("private", "ping"):
            with self._lock:
                user = self._users.get(int(target)) if target.isdigit() else None
            if user is None:
                connection.send("error||There is nobody with this number.")
            elif command == "private":
                for one in {user[1], connection}:
                    self._tell(one, f"private|{number}|{text}")
            else:
                begin = time.monotonic()
                if user[1].ping().wait(10):
                    connection.send(f"ping|{target}|{(time.monotonic() - begin) * 1000:.0f}")
        else:
            connection.send("error||This is no message of the chat.")

    def _rename(self, number, connection, name):
        with self._lock:
            taken = {user[0].lower() for other, user in self._users.items() if other != number}
            good = 0 < len(name) <= 32 and all(33 <= ord(c) <= 126 and c != "|" for c in name)
            if good and name.lower() not in taken:
                self._users[number][0] = name
        if good and name.lower() not in taken:
            self._tell_all(f"username|{number}|{name}")
        else:
            connection.send("error||This name is taken, or not a name.")

    def _tell_all(self, text, but=None):
        with self._lock:
            connections = [user[1] for number, user in self._users.items() if number != but]
        for connection in connections:
            self._tell(connection, text)

    def _tell(self, connection, text):
        with suppress(ConnectionClosed):  # its own thread takes it off the list
            connection.send(text)


def answer(connection, request):
    """Gives the page; None where a WebSocket is wanted."""
    if request.target == "/ChatServerWebSocket":
        return None
    if request.target != "/":
        return connection.respond(404, "There is nothing here.\n")
    return Response(200, "OK", Headers([("Content-Type", "text/html; charset=utf-8")]), PAGE.read_bytes())


def start(port):
    """The server, listening."""
    return serve(Chat().talk, "127.0.0.1", port, process_request=answer)


if __name__ == "__main__":
    with start(int(sys.argv[1]) if len(sys.argv) > 1 else 9998) as server:
        print("http://{}:{}/".format(*server.socket.getsockname()), flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("Closing.")
