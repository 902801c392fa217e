// The client of peer.mjs, and of a page in a browser: send messages of many sizes, compare what comes back, close.
export function client(WebSocket, uri) {
  const sizes = [0, 1, 125, 126, 5000, 65535, 65536, 100000, 10];
  const messages = sizes.flatMap((size) => ["é€😀x".repeat(size / 5), new Uint8Array(size).fill(size % 251)]);
  const text = (data) => (typeof data === "string" ? data : "binary " + new Uint8Array(data).join());
  return new Promise((resolve) => {
    const socket = new WebSocket(uri);
    let received = 0;
    let changed = false;
    let error = false;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => messages.forEach((message) => socket.send(message));
    socket.onmessage = ({ data }) => {
      changed ||= received >= messages.length || text(data) !== text(messages[received]);
      received += 1;
      if (received === messages.length) socket.close(1000);
    };
    socket.onerror = () => (error = true);
    socket.onclose = ({ code }) => resolve({ received, changed, error, code, total: messages.length });
  });
}
