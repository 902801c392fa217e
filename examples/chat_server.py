"""A full-duplex chat: one thread receives from each client, and any thread sends to all clients.

A message has the form "command|id|text". Clients send `||text` to all, `private|id|text` to one
user, `name||new` to change their name, and `ping|id|` to measure the latency of a user. The server
sends `userinit` (the id and name of the client), `useradd`, `userdel`, `username`, `regular`,
`private`, `ping` (in milliseconds), `moderator` and `error`. The page is at /, the WebSocket at
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
    """The connected users, by number."""

    def __init__(self):
        self._lock = threading.Lock()
        self._numbers = count(1)
        self._users = {}  # number: [name, connection]

    def talk(self, connection):
        """Serve one client."""
        number = next(self._numbers)
        name = f"User{number}"
        with self._lock:
            connection.send(f"userinit|{number}|{name}")
            for other, (other_name, _) in self._users.items():
                connection.send(f"useradd|{other}|{other_name}")
            self._users[number] = [name, connection]
        self._send_to_all(f"useradd|{number}|{name}", number)
        connection.send("moderator||Welcome! Change your name, or just talk.")
        try:
            for message in connection:
                self._handle_message(number, connection, message)
        finally:
            with self._lock:
                del self._users[number]
            self._send_to_all(f"userdel|{number}|")

    def _handle_message(self, number, connection, message):
        parts = message.split("|", 2) if isinstance(message, str) else []
        command, target, text = parts if len(parts) == 3 else (None, "", "")
        if command == "" and text:
            self._send_to_all(f"regular|{number}|{text}")
        elif command == "name":
            self._rename(number, connection, text)
        elif command in ("private", "ping"):
            with self._lock:
                user = self._users.get(int(target)) if target.isdigit() else None
            if user is None:
                connection.send("error||There is no user with this number.")
            elif command == "private":
                for receiver in {user[1], connection}:
                    self._send(receiver, f"private|{number}|{text}")
            else:
                start = time.monotonic()
                if user[1].ping().wait(10):
                    connection.send(f"ping|{target}|{(time.monotonic() - start) * 1000:.0f}")
        else:
            connection.send("error||This is not a message of the chat.")

    def _rename(self, number, connection, name):
        with self._lock:
            taken = {user[0].lower() for other, user in self._users.items() if other != number}
            valid = 0 < len(name) <= 32 and all(33 <= ord(c) <= 126 and c != "|" for c in name)
            accepted = valid and name.lower() not in taken
            if accepted:
                self._users[number][0] = name
        if accepted:
            self._send_to_all(f"username|{number}|{name}")
        else:
            connection.send("error||This name is taken or not valid.")

    def _send_to_all(self, text, excluded=None):
        with self._lock:
            connections = [user[1] for number, user in self._users.items() if number != excluded]
        for connection in connections:
            self._send(connection, text)

    def _send(self, connection, text):
        with suppress(ConnectionClosed):  # the thread of that connection removes it from the list
            connection.send(text)


def respond(connection, request):
    """Return the page; None for a request for the WebSocket."""
    if request.target == "/ChatServerWebSocket":
        return None
    if request.target != "/":
        return connection.respond(404, "There is nothing here.\n")
    return Response(200, "OK", Headers([("Content-Type", "text/html; charset=utf-8")]), PAGE.read_bytes())


def start(port):
    """Return the server, which is listening."""
    return serve(Chat().talk, "127.0.0.1", port, process_request=respond)


if __name__ == "__main__":
    with start(int(sys.argv[1]) if len(sys.argv) > 1 else 9998) as server:
        print("http://{}:{}/".format(*server.socket.getsockname()), flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("Closing.")
