"""`framewire serve -w DIR`: serve a directory of unmodified pywebsocket handlers (`*_wsh.py`).

    request ─ handlers ─▶ web_socket_do_extra_handshake ─▶ 101 ─▶ web_socket_transfer_data ─▶ close
                  └─ no handler: files

Each connection is a `framewire.sync` connection in a thread of its own, with a `FrameDriver`: input
waits until the handler receives. `modules` creates the modules that handlers import. Where
pywebsocket deviates from RFC 6455 (a ping between fragments is an error, close codes are not
validated, text is validated at its end only, messages are unlimited), these connections follow the
RFC.
"""
