// An echo server on Bun (uWebSockets): prints its port.
const server = Bun.serve({
  port: 0,
  hostname: "127.0.0.1",
  fetch: (request, self) => (self.upgrade(request) ? undefined : new Response("", { status: 400 })),
  websocket: {
    message: (socket, message) => socket.send(message),
    perMessageDeflate: false,
    maxPayloadLength: 1 << 26,
    backpressureLimit: 1 << 26,
    idleTimeout: 0,
  },
});
console.log(server.port);
