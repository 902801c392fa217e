// Run scenarios with the WebSocket of the browser: window.runScenario(scenario, url, limit) returns the
// log of one. `run_scenario` of scenario_runner.py does the same in Python; both logs must be equal.

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
    for (let bit = 0; bit < 8; bit++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
    return n;
});

function crc32(bytes) {
    let crc = -1;
    for (const byte of bytes) crc = (crc >>> 8) ^ CRC[(crc ^ byte) & 255];
    return ~crc >>> 0;
}

function makePayload({ text, times = 1, bytes, type = "array" }) {
    if (text !== undefined) return text.repeat(times);
    const array = Uint8Array.from({ length: bytes }, (_, i) => i % 251);
    if (type === "buffer") return array.buffer;
    if (type === "blob") return new Blob([array]);
    if (type === "view") {
        const larger = new Uint8Array(bytes + 20);
        larger.set(array, 10);
        return new DataView(larger.buffer, 10, bytes);
    }
    return array;
}

function describe(data) {
    if (data instanceof Blob) return `blob of ${data.size} bytes`;
    if (data instanceof ArrayBuffer) return `arraybuffer of ${data.byteLength} bytes, CRC ${crc32(new Uint8Array(data))}`;
    if (Array.from(data).length <= 20) return `text ${JSON.stringify(data)}`;
    const bytes = new TextEncoder().encode(data);
    return `text of ${bytes.length} bytes, CRC ${crc32(bytes)}`;
}

class Runner {
    constructor(scenario, url, log) {
        Object.assign(this, { scenario, url, log, turn: 0, listeners: {} });
    }

    attempt(label, action) {
        try {
            const result = action();
            this.log.push(`${label}${result === undefined ? "" : `: ${result}`}`);
        } catch (error) {
            this.log.push(`${label}: ${error.name}`);
        }
    }

    act([name, ...args]) {
        const { socket } = this;
        if (name === "send") {
            const payload = makePayload(args[0]);
            this.attempt(`send ${JSON.stringify(args[0].text ?? args[0].bytes)}`, () => {
                const before = socket.bufferedAmount;
                socket.send(payload);
                return `+${socket.bufferedAmount - before}, ${socket.readyState}`;
            });
        } else if (name === "close") {
            this.attempt(`close ${JSON.stringify(args)}`, () => {
                socket.close(...args.map(each => each ?? undefined));
                return socket.readyState;
            });
        } else if (name === "get") {
            this.log.push(`${args[0]}: ${JSON.stringify(socket[args[0]] ?? null)}`);
        } else if (name === "set") {
            socket[args[0]] = args[1];
        } else if (name === "add") {
            socket.addEventListener(args[0], this.listener(args[1]), { once: args[2] ?? false });
        } else if (name === "remove") {
            socket.removeEventListener(args[0], this.listener(args[1]));
        } else if (name === "assign") {
            socket[args[0]] = args[1] === null ? null : this.listener(args[1]);
        } else if (name === "throw") {
            throw new Error("thrown by a listener");
        } else {
            throw new Error(name);
        }
    }

    listener(label) {
        return (this.listeners[label] ??= event => {
            this.log.push(`${label}: ${event.type}, ${event.target === this.socket}`);
            for (const action of this.scenario.listeners?.[label] ?? []) this.act(action);
        });
    }

    takeTurn() {
        for (const action of this.scenario.turns?.[this.turn++] ?? []) this.act(action);
    }

    run() {
        const { log, scenario } = this;
        return new Promise(resolve => {
            this.attempt("new", () => {
                const args = scenario.protocols === undefined ? [] : [scenario.protocols];
                const socket = (this.socket = new WebSocket(this.url, ...args));
                return `${socket.readyState} ${socket.bufferedAmount} ${JSON.stringify([
                    socket.protocol, socket.extensions, socket.binaryType,
                ])}`;
            });
            const { socket } = this;
            if (!socket) return resolve();
            socket.addEventListener("open", () => {
                log.push(`open: ${socket.readyState} ${JSON.stringify([socket.protocol, socket.extensions])}`);
                this.takeTurn();
            });
            socket.addEventListener("message", event => {
                const origin = event.origin === new URL(socket.url).origin;
                log.push(`message: ${describe(event.data)}, ${socket.readyState}, ${origin}`);
                this.takeTurn();
            });
            socket.addEventListener("error", () => log.push(`error: ${socket.readyState}`));
            socket.addEventListener("close", ({ code, reason, wasClean }) => {
                log.push(`close: ${code} ${JSON.stringify(reason)} ${wasClean} ${socket.readyState}`);
                for (const action of scenario.after ?? []) this.act(action);
                setTimeout(resolve); // after any later event
            });
            this.takeTurn();
        });
    }
}

window.runScenario = async (scenario, url, limit) => {
    const log = [];
    const reported = event => {
        log.push("reported");
        event.preventDefault();
    };
    window.addEventListener("error", reported);
    const late = new Promise(resolve => setTimeout(() => resolve("timeout"), limit));
    const outcome = await Promise.race([new Runner(scenario, url, log).run(), late]);
    window.removeEventListener("error", reported);
    if (outcome) log.push(outcome);
    return log;
};
