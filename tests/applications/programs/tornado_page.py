"""A page of tornado that counts messages: `python tornado_page.py PORT`."""

import asyncio
import sys

from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler

PAGE = """
<!doctype html><title>Echo</title><p id="state">connecting</p>
<script>
const received = [], socket = new WebSocket(`ws://${location.host}/socket`, ["echo"])
const state = text => document.querySelector("#state").textContent = text
socket.binaryType = "arraybuffer"
socket.onopen = () => state(`open ${socket.protocol} ${socket.extensions}`)
socket.onclose = event => state(`closed ${event.code} ${event.reason}`)
socket.onmessage = event => {
    const data = event.data
    received.push(typeof data == "string" ? data : [...new Uint8Array(data)].reduce((sum, byte) => sum + byte, 0))
}
</script>
"""


class Page(RequestHandler):
    """The page."""

    def get(self):
        self.write(PAGE)


class Echo(WebSocketHandler):
    """Echoes messages, and closes after the message "close"."""

    def get_compression_options(self):
        return {}

    def select_subprotocol(self, subprotocols):
        return subprotocols[0]

    def on_message(self, message):
        if message == "close":
            self.close(3000, "as asked")
        else:
            self.write_message(message, binary=isinstance(message, bytes))


async def main(port):
    Application([("/", Page), ("/socket", Echo)]).listen(port, "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
