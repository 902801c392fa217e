// A peer of the relay's tests under node (with ws), Bun and Deno: an echo server (peer.mjs server, prints its port), or
// a client that sends messages to an echo server (peer.mjs client URI) and prints what came back.
import { client } from "./client.mjs";

const runtime = globalThis.Bun ? "bun" : globalThis.Deno ? "deno" : "node";
const [role, uri] = globalThis.Deno ? Deno.args : process.argv.slice(2);
const ws = runtime === "node" ? await import("ws") : null;

if (role === "client") {
  console.log(JSON.stringify(await client(ws ? ws.WebSocket : WebSocket, uri)));
  globalThis.Deno ? Deno.exit(0) : process.exit(0);
} else if (runtime === "node") {
  const server = new ws.WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: { threshold: 0 } });
  server.on("listening", () => console.log(server.address().port));
  server.on("connection", (socket) => {
    socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
    socket.on("error", () => {});
  });
} else if (runtime === "bun") {
  const websocket = { perMessageDeflate: true, maxPayloadLength: 1 << 24, message: (ws, data) => void ws.send(data) };
  const fetch = (request, server) => (server.upgrade(request) ? undefined : new Response("", { status: 400 }));
  console.log(Bun.serve({ hostname: "127.0.0.1", port: 0, websocket, fetch }).port);
} else {
  const onListen = ({ port }) => console.log(port);
  Deno.serve({ hostname: "127.0.0.1", port: 0, onListen }, (request) => {
    const { socket, response } = Deno.upgradeWebSocket(request);
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => socket.readyState === 1 && socket.send(data);
    socket.onerror = () => {};
    return response;
  });
}
