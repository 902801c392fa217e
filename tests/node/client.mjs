// The client of peer.mjs, and of a page in a browser: send messages of many sizes, compare what comes back, close.
export function client(WebSocket, uri) {
  const sizes = [0, 1, 125, 126, 5000, 65535, 65536, 100000, 10];
  let state = 1; // of the generator of MESSAGES in tests/interop/peers.py, whose numbers do not compress
  const next = () => ((state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 24);
  const random = (length) => Uint8Array.from({ length }, next);
  const character = (byte) => ["é", "€", "😀", "x"][byte >> 6];
  const messages = sizes.flatMap((size) => [
    Array.from(random(4 * Math.floor(size / 5)), character).join(""),
    random(size),
  ]);
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
