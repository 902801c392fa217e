// The other end of test_deflate_asyncio.py: ws of node, as client (peer.js client URI OPTIONS) or as an echo
// (peer.js server PORT OPTIONS, prints its port; peer.js echo URI OPTIONS as client). OPTIONS is the JSON of its
// perMessageDeflate.
const { WebSocket, WebSocketServer } = require("ws");

const [role, target, options] = process.argv.slice(2);
const perMessageDeflate = JSON.parse(options);

if (role === "server") {
  const server = new WebSocketServer({ host: "127.0.0.1", port: Number(target), perMessageDeflate });
  server.on("listening", () => console.log(server.address().port));
  server.on("connection", (ws) => ws.on("message", (data, isBinary) => ws.send(data, { binary: isBinary })));
} else if (role === "echo") {
  const ws = new WebSocket(target, { perMessageDeflate });
  ws.on("message", (data, isBinary) => ws.send(data, { binary: isBinary }));
  ws.on("close", (code) => console.log(ws.extensions, code));
} else {
  const texts = ["", "Hello", "Hello".repeat(50), "Grüße, 世界 ".repeat(300), "x".repeat(300000)];
  const messages = [...texts, ...texts.map((text) => Buffer.from(text)), ...texts];
  const ws = new WebSocket(target, { perMessageDeflate });
  let received = 0;
  ws.on("open", () => messages.forEach((message) => ws.send(message)));
  ws.on("message", (data, isBinary) => {
    const sent = messages[received++];
    if (isBinary !== Buffer.isBuffer(sent) || !data.equals(Buffer.from(sent))) {
      console.log(`message ${received} came back changed`);
      process.exit(1);
    }
    if (received === messages.length) ws.close();
  });
  ws.on("error", (error) => {
    console.log(String(error));
    process.exit(1);
  });
  ws.on("close", (code) => {
    console.log(ws.extensions, code, received);
    process.exit(code === 1005 && received === messages.length ? 0 : 1);
  });
}
