"""`framewire serve -w DIR`: runs a directory of pywebsocket handlers (`*_wsh.py`) as they are.

    request ─ handlers ─▶ web_socket_do_extra_handshake ─▶ 101 ─▶ web_socket_transfer_data ─▶ close
                  └─ no handler: files

Each connection is a `framewire.sync` connection in a thread of its own. `modules` makes what the handlers import.
Where pywebsocket breaks RFC 6455 (a ping between fragments is an error, close codes go unchecked, text is checked at
its end only, a message has no limit), these connections do what the RFC says.
"""
