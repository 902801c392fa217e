"""An echo server on granian (Rust), with its own interface RSGI: prints its port."""

import socket
import sys
import threading
import time


async def application(scope, protocol):
    from granian.rsgi import WebsocketMessageType

    transport = await protocol.accept()
    while (message := await transport.receive()).kind != WebsocketMessageType.close:
        await transport.send_bytes(message.data)


def announce(port):
    """Print the port once the worker process accepts connections."""
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            time.sleep(0.05)
    print(port, flush=True)


if __name__ == "__main__":
    from granian import Granian
    from granian.constants import Interfaces, Loops

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]  # granian does not tell the port that it was given
    threading.Thread(target=announce, args=(free,), daemon=True).start()
    Granian(
        "benchmarks.runtimes.granian_echo:application",
        port=free,
        interface=Interfaces.RSGI,
        loop=Loops(sys.argv[1]),
        log_enabled=False,
    ).serve()
