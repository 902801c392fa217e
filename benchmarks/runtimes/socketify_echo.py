"""An echo server on socketify (uWebSockets): prints its port."""

import socket

from socketify import App, CompressOptions

with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]  # socketify does not tell the port that it was given

app = App()
app.ws(
    "/*",
    {
        "compression": CompressOptions.DISABLED,
        "max_payload_length": 1 << 26,
        "max_backpressure": 1 << 26,
        "idle_timeout": 0,
        "message": lambda connection, message, opcode: connection.send(message, opcode),
    },
)
app.listen({"port": port, "host": "127.0.0.1"}, lambda config: print(port, flush=True))
app.run()
