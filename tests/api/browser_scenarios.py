"""Scenarios for the WebSocket API, run by a browser and by framewire; both must log the same.

A scenario is a dict of JSON values:

    name       unique
    path       path and query, after those that tell the server which scenario it is; or
    url        the whole URL, in which {host} stands for the host and port of the server
    protocols  the second argument of the constructor
    turns      actions of the client: after the constructor, in `open`, in each `message`
    after      actions in `close`
    listeners  actions of other listeners, by label
    response   lines of the server's response; {accept} stands for Sec-WebSocket-Accept
    compress   the server accepts permessage-deflate
    request    the server logs header fields of the request
    greeting   actions of the server after its response
    replies    actions of the server after each message; later messages are echoed
    closing    actions of the server before it answers a close frame
"""

import random

from scenario_server import ACCEPTING

CLOSE = ["close", 1000]
KINDS = ("open", "message", "error", "close")
#: Actions that add two listeners of each type, and assign each handler.
ADD_ALL = [["add", kind, label] for kind in KINDS for label in ("first", "second")]
ASSIGN_ALL = [["assign", f"on{kind}", "handler"] for kind in KINDS]
SIZES = (0, 1, 125, 126, 4096, 65535, 65536, 200_000)

#: Paths and queries to connect to.
PATHS = (
    "", "?", "?a=b&c", "?a b", "?a%20b", "?ü", "?'\"<>", "?a?b", "?a{b}|c^d`e", "/a/b", "/ä/%C3%A4", "/a//b", "/a%2fb",
    "/a;b=c", "/a:b@c", "/a{b}|c^d`e", "/a'b\"c<d>", "/a[b]", "/a\\b", "/./a/../b", "/a/%2e%2E/b", "/~!$&()*+,=",
    "/a%zz",
)  # fmt: skip

#: URLs to parse only.
URLS = (
    "WS://{host}/", "ws:{host}/", "ws:/{host}/", "ws:///{host}/", "ws:\\\\{host}/", " ws://{host}/ ", "\tws://{host}/\n",
    "w\ns://{host}/", "ws://LocalHost:1/", "ws://127.1:1/", "ws://0x7f000001:1/", "ws://[::1]:1/", "ws://[::1/",
    "ws://[0:0:0:0:0:0:0:1]:1/", "ws://localhost:00080/", "ws://localhost:80", "ws://localhost:443/",
    "wss://localhost:443/", "wss://localhost:80/", "ws://localhost:/", "ws://ex%61mple.test/", "ws://ex ample.test/",
    "ws://exa<mple.test/", "ws://EXÄMPLE.test/", "ws://xn--exmple-cua.test/", "http://localhost:1/",
    "HTTPS://localhost:1/", "ws://localhost:1#", "ws://localhost:1/#a", "ws://localhost:1/?#", "ws://localhost:65535/",
    "ws://localhost:65536/", "ws://localhost:x/", "ws://localhost:-1/", "ws://", "ws:", "", "ftp://localhost:1/",
    "file:///a", "about:blank", "mailto:a@b", "ws://user:password@localhost:1/", "ws://us%20er:p%40ss@localhost:1/",
    "ws://256.256.256.256/", "ws://localhost:1/\x01", "ws://local\thost:1/", "ws://localhost:1/a\nb",
)  # fmt: skip

#: Offers of subprotocols; the server selects the first one.
OFFERS = (
    [], ["chat"], ["a", "b"], ["b", "a"], ["a", "A"], ["a", "a"], "chat", "", [""], ["a b"], "a,b", ["a/b"], ["ä"],
    ["!#$%&'*+-.^_`|~09azAZ"], ["a\t"], ["(a)"], ["a", "b", "c", "b"], ["\x7f"],
    {}, {"protocols": []}, {"protocols": "a"}, {"protocols": ["b", "a"]}, {"protocols": ["a", "a"]}, {"other": 1},
)  # fmt: skip

TEXTS = (
    "", "x", "é", "€", "😀", "a\0b", "\ud800", "a\udc00b", "\ud83dx", "\ufeffx", "\ufffd\uffff", "\u2028", "\r\n",
    "\x7f\x80",
)  # fmt: skip

REASONS = (
    "", "x", "é", "x" * 123, "x" * 124, "é" * 61, "é" * 62, "\ud800", "\ud800" * 41, "\ud800" * 42, "a\0b", None,
)  # fmt: skip

STATUS, UPGRADE, CONNECTION, ACCEPT = ACCEPTING

#: Responses, by description; {accept} stands for the value of Sec-WebSocket-Accept.
RESPONSES = {
    "other case of values": [STATUS, "Upgrade: WebSocket", "Connection: UPGRADE", ACCEPT],
    "other case of names": [
        STATUS,
        "UPGRADE: websocket",
        "connection: Upgrade",
        ACCEPT.lower().replace("sec", "SEC"),
    ],
    "Connection with two tokens": [STATUS, UPGRADE, "Connection: keep-alive, Upgrade", ACCEPT],
    "two lines of Connection": [STATUS, UPGRADE, "Connection: keep-alive", CONNECTION, ACCEPT],
    "two protocols in Upgrade": [STATUS, "Upgrade: h2c, websocket", CONNECTION, ACCEPT],
    "two lines of Upgrade": [STATUS, UPGRADE, UPGRADE, CONNECTION, ACCEPT],
    "a version in Upgrade": [STATUS, "Upgrade: websocket/13", CONNECTION, ACCEPT],
    "no Upgrade": [STATUS, CONNECTION, ACCEPT],
    "no Connection": [STATUS, UPGRADE, ACCEPT],
    "no Accept": [STATUS, UPGRADE, CONNECTION],
    "empty Accept": [STATUS, UPGRADE, CONNECTION, "Sec-WebSocket-Accept:"],
    "wrong Accept": [STATUS, UPGRADE, CONNECTION, "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA="],
    "Accept with spaces": [STATUS, UPGRADE, CONNECTION, "Sec-WebSocket-Accept:   {accept}  "],
    "Accept and more": [STATUS, UPGRADE, CONNECTION, ACCEPT + "x"],
    "Accept twice": [*ACCEPTING, ACCEPT],
    "another reason phrase": ["HTTP/1.1 101 Fine", *ACCEPTING[1:]],
    "no reason phrase": ["HTTP/1.1 101", *ACCEPTING[1:]],
    "HTTP/1.0": ["HTTP/1.0 101 Switching Protocols", *ACCEPTING[1:]],
    "HTTP/1.2": ["HTTP/1.2 101 Switching Protocols", *ACCEPTING[1:]],
    "HTTP/2.0": ["HTTP/2.0 101 Switching Protocols", *ACCEPTING[1:]],
    "no HTTP": ["SSH-2.0-x"],
    "nothing": [],
    "status 100 and 101": ["HTTP/1.1 100 Continue", "", *ACCEPTING],
    "status 103 and 101": ["HTTP/1.1 103 Early Hints", "Link: </a>", "", *ACCEPTING],
    "status 200": ["HTTP/1.1 200 OK", *ACCEPTING[1:], "Content-Length: 0"],
    "status 204": ["HTTP/1.1 204 No Content"],
    "status 301": ["HTTP/1.1 301 Moved Permanently", "Location: /", "Content-Length: 0"],
    "status 401": ["HTTP/1.1 401 Unauthorized", "Content-Length: 0"],
    "status 403": ["HTTP/1.1 403 Forbidden", "Content-Length: 0"],
    "status 404": ["HTTP/1.1 404 Not Found", "Content-Length: 2", "", "no"],
    "status 426": ["HTTP/1.1 426 Upgrade Required", "Sec-WebSocket-Version: 99", "Content-Length: 0"],
    "status 503": ["HTTP/1.1 503 Service Unavailable", "Retry-After: 1"],
    "an extension without an offer": [*ACCEPTING, "Sec-WebSocket-Extensions: x-unknown"],
    "an empty extension": [*ACCEPTING, "Sec-WebSocket-Extensions:"],
    "permessage-deflate twice": [*ACCEPTING, "Sec-WebSocket-Extensions: permessage-deflate, permessage-deflate"],
    "permessage-deflate with an unknown parameter": [
        *ACCEPTING,
        "Sec-WebSocket-Extensions: permessage-deflate; x=1",
    ],
    "permessage-deflate with a bad window": [
        *ACCEPTING,
        "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=16",
    ],
    "permessage-deflate with a window": [
        *ACCEPTING,
        "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9",
    ],
    "permessage-deflate without context": [
        *ACCEPTING,
        "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover; server_no_context_takeover",
    ],
    "a cookie": [*ACCEPTING, "Set-Cookie: a=b"],
    "a long line": [*ACCEPTING, "X-Long: " + "x" * 5000],
    "many lines": [*ACCEPTING, *(f"X-{number}: y" for number in range(60))],
    "a folded line": [*ACCEPTING, "X-Folded: a", " b"],
    "a line without a colon": [*ACCEPTING, "X-Nothing"],
    "a space before a colon": [*ACCEPTING, "X-Space : a"],
    "Content-Length": [*ACCEPTING, "Content-Length: 0"],
}

#: Frames that fail the connection, in hexadecimal.
VIOLATIONS = {
    "a mask": "818100000000 78",
    "RSV1": "c10178",
    "RSV2": "a10178",
    "RSV3": "910178",
    "opcode 3": "8300",
    "opcode 7": "8700",
    "opcode 11": "8b00",
    "opcode 15": "8f00",
    "a continuation of nothing": "800178",
    "two first fragments": "010178 010178",
    "a message in fragments of another": "010178 810178",
    "a fragmented ping": "0900",
    "a ping of 126 bytes": "897e007e" + "00" * 126,
    "a length not in its shortest form": "817e000178",
    "a long length not in its shortest form": "817f000000000000000178",
    "a length over 63 bits": "827f8000000000000000",
    "invalid UTF-8": "8102c328",
    "an unfinished code point": "8102e282",
    "a surrogate in UTF-8": "8103eda080",
    "an overlong code point": "8102c0af",
    "a code point over 10FFFF": "8104f4908080",
    "invalid UTF-8 in fragments": "0101c3 800128",
    "an unfinished code point in fragments": "0101c3 8000",
    "a compressed message without an extension": "c10100",
}

#: Close frames to receive, in hexadecimal.
CLOSES = {
    "empty": "8800",
    "of one byte": "880103",
    "with a reason": "880503e8616263",
    "with a reason of 123 bytes": "887d0fa0" + "61" * 123,
    "with invalid UTF-8": "880403e8c328",
    "with an unfinished code point": "880403e861c3",
    "with a NUL": "880403e80061",
    "that is masked": "88820000000003e8",
    "with 126 bytes": "887e007e03e8" + "61" * 124,
    "without FIN": "080203e8",
}


def make_scenarios(seed, count):
    """Return all scenarios, `count` of them with random actions."""
    scenarios = [
        *attributes(),
        *urls(),
        *subprotocols(),
        *responses(),
        *messages(),
        *sequences(),
        *close_calls(),
        *received_closes(),
        *violations(),
        *ends(),
        *listeners(),
        *listener_actions(),
        *(make_random(f"random {seed}.{number}", random.Random(f"{seed}.{number}")) for number in range(count)),
    ]
    assert len({scenario["name"] for scenario in scenarios}) == len(scenarios)
    # Browsers delay connections after failed ones, unless as many succeed.
    random.Random(seed).shuffle(scenarios)
    return scenarios


def scenario(name, *turns, **more):
    return {"name": name, "turns": list(turns), **more}


def text(content, times=1):
    return ["send", {"text": content, "times": times}]


def binary(size, kind="array"):
    return ["send", {"bytes": size, "type": kind}]


def get(*names):
    return [["get", name] for name in names]


def attributes():
    names = ("readyState", "bufferedAmount", "protocol", "extensions", "binaryType")
    constants = ("CONNECTING", "OPEN", "CLOSING", "CLOSED")
    handlers = ("onopen", "onmessage", "onerror", "onclose")
    reads = get(*names, *constants, *handlers)
    yield scenario("attributes in each state", reads, [*reads, CLOSE, *reads], after=reads)
    yield scenario("attributes with compression", [], [*get(*names), text("x", 999)], [CLOSE], compress=True)
    for value in ("arraybuffer", "blob", "nodebuffer", "", "ArrayBuffer"):
        turns = [[["set", "binaryType", value], *get("binaryType")], [binary(3)], [CLOSE]]
        yield scenario(f"binaryType {value!r}", *turns, after=get("binaryType"))
    yield scenario(
        "binaryType is read for each message",
        [],
        [binary(3)],
        [["set", "binaryType", "arraybuffer"], binary(4)],
        [["set", "binaryType", "blob"], binary(5)],
        [CLOSE],
    )


def urls():
    for path in PATHS:
        yield scenario(f"path {path}", get("url"), [CLOSE], path=path, request=True)
    for url in URLS:
        yield scenario(f"URL {url!r}", [*get("url"), ["close"]], url=url)


def subprotocols():
    for offer in OFFERS:
        names = offer.get("protocols", []) if isinstance(offer, dict) else offer
        answer = names if isinstance(names, str) else names[0] if names else None
        lines = [*ACCEPTING, f"Sec-WebSocket-Protocol: {answer}"] if answer else ACCEPTING
        yield scenario(
            f"subprotocols {offer!r}", [], [CLOSE], protocols=offer, request=True, response=lines, after=get("protocol")
        )
    answers = [
        None,
        "b",
        "c",
        "A",
        "a, b",
        "",
        "a\r\nSec-WebSocket-Protocol: a",
        "a\r\nSec-WebSocket-Protocol: b",
        " a ",
        "a,",
    ]
    for answer in answers:
        lines = ACCEPTING if answer is None else [*ACCEPTING, f"Sec-WebSocket-Protocol: {answer}"]
        yield scenario(
            f"subprotocol {answer!r} for a, b", [], [CLOSE], protocols=["a", "b"], response=lines, after=get("protocol")
        )
    lines = [*ACCEPTING, "Sec-WebSocket-Protocol: a"]
    yield scenario("subprotocol without an offer", [], [CLOSE], response=lines, after=get("protocol"))


def responses():
    """Responses other than the common one."""
    for name, lines in RESPONSES.items():
        # The end of file comes at once, except after a 101.
        greeting = [] if any(" 101" in line for line in lines) else [["eof"]]
        yield scenario(f"response: {name}", [], [CLOSE], response=lines, greeting=greeting)
    yield scenario("response: aborted", response=[], greeting=[["abort"]])
    yield scenario("response: closed while waiting", [CLOSE], response=[])


def messages():
    for content in TEXTS:
        yield scenario(f"text {content!a}", [], [text(content)], [CLOSE])
    for size in SIZES:
        yield scenario(f"text of {size} characters of 2 bytes", [], [text("é", size)], [CLOSE])
        for kind in ("array", "buffer", "view", "blob"):
            turns = [[["set", "binaryType", "arraybuffer"]], [binary(size, kind)], [CLOSE]]
            yield scenario(f"{kind} of {size} bytes", *turns)
        turns = [[["set", "binaryType", "arraybuffer"]], [binary(size), text("\u0101", size)], [], [CLOSE]]
        yield scenario(f"compressed messages of {size} bytes", *turns, compress=True)


def sequences():
    """Several messages, and messages in unusual states or frames."""
    several = [text("a"), binary(5, "blob"), text("b", 70_000), binary(70_000), text("")]
    yield scenario(
        "messages of several types", [["set", "binaryType", "arraybuffer"]], several, [], [], [], [], [CLOSE]
    )
    yield scenario("send while connecting", [text("early"), binary(1)], [CLOSE])
    yield scenario("send after close", [], [CLOSE, text("late"), binary(10), *get("bufferedAmount")], after=[text("é")])
    yield scenario("send in close", [], [CLOSE], after=[text("late"), binary(3), *get("bufferedAmount")])
    yield scenario(
        "received fragments",
        [["set", "binaryType", "arraybuffer"]],
        [text("1"), text("2")],
        [],
        [CLOSE],
        replies=[
            [["fragments", {"text": "one "}, {"text": ""}, {"text": "two"}]],
            [["fragments", {"bytes": 70000}, {"bytes": 3}, {"bytes": 0}]],
        ],
    )
    yield scenario("a code point in two fragments", [], [text("1")], [CLOSE], replies=[[["raw", "0102e282 8002ac61"]]])
    yield scenario(
        "pings", [], [text("1")], [CLOSE], replies=[[["ping", "a"], ["ping", ""], ["raw", "8a0178"], ["echo"]]]
    )
    yield scenario("a ping in a message", [], [text("1")], [CLOSE], replies=[[["raw", "0101618901788001 62"]]])
    yield scenario("a message with the response", [], [], [CLOSE], greeting=[["send", {"text": "hello"}]])
    yield scenario(
        "a message and a close with the response", greeting=[["send", {"text": "hello"}], ["close", 4000, "x"]]
    )
    yield scenario(
        "many messages", [], [text("1")], *[[] for _ in range(99)], [CLOSE], replies=[[["send", {"bytes": 9}]] * 100]
    )


def close_calls():
    codes = (None, 0, 1, 999, 1000, 1001, 1002, 1005, 1006, 1015, 2999, 3000, 3999, 4999, 5000, 65535)
    for code in codes:
        for state in (0, 1):
            turns = [[], [CLOSE]]
            turns[state] = [["close", code], *get("readyState"), *turns[state]]
            yield scenario(f"close({code}) in state {state}", *turns)
    for reason in REASONS:
        for code in (1000, 4999):
            title = f"{ascii(reason)[:9]} of {len(reason or '')}"
            yield scenario(f"close({code}, {title})", [], [["close", code, reason], CLOSE])
    yield scenario("close with a reason and no code", [], [["close", None, "x"], CLOSE])
    yield scenario(
        "close without arguments", [], [["close"]], after=[["close"], ["close", 1], ["close", 1000, "x" * 124]]
    )
    yield scenario(
        "close twice", [], [["close", 4001, "a"], ["close", 4002, "b"], ["close", 1], ["close", 1000, "x" * 124]]
    )
    yield scenario("close after messages", [], [text("a"), text("b", 100_000), ["close", 4000, "end"]])
    yield scenario("no message after close", [], [text("a")], [CLOSE], replies=[[["send", {"text": "x"}]] * 5])
    closing = [
        [["close", 4001, "server"]],
        [["send", {"text": "x"}], ["close", 4001]],
        [["close", None]],
        [["eof"]],
        [["abort"]],
        [["raw", "ff00"]],
    ]
    for actions in closing:
        yield scenario(f"close answered by {actions}", [], [["close", 4000, "client"]], closing=actions)


def received_closes():
    codes = [*range(998, 1018), 1099, 2999, 3000, 4999, 5000, 65535, 0]
    for code in codes:
        frame = f"8802{code:04x}"
        yield scenario(f"received close code {code}", [], [text("1")], replies=[[["raw", frame]]])
    for name, frame in CLOSES.items():
        yield scenario(f"received close {name}", [], [text("1")], replies=[[["raw", frame]]])
    for code, reason in ((4000, "bye"), (None, ""), (1001, "")):
        turns, after = [[], [text("1")]], [text("late"), ["close", 4003]]
        yield scenario(
            f"close({code}, {reason!r}) by the server", *turns, replies=[[["close", code, reason]]], after=after
        )
    yield scenario(
        "messages and a close by the server",
        [],
        [text("1")],
        [],
        [],
        get("readyState"),
        replies=[[["echo"], ["send", {"bytes": 70_000}], ["echo"], ["close", 4000]]],
    )
    yield scenario(
        "frames after a close by the server", [], [text("1")], replies=[[["close", 4000], ["raw", "810178"]]]
    )


def violations():
    """Frames that fail the connection."""
    for name, frame in VIOLATIONS.items():
        for before in (False, True):
            replies = [[["echo"]]] * before + [[["raw", frame]]]
            title = f"violation: {name}" + ", after a message" * before
            yield scenario(title, [], [text("1")], [text("2")], replies=replies, after=[text("late")])
    for name, frame in {
        "no DEFLATE data": "c10206ff",
        "RSV1 of a continuation": "010161 c00161",
        "RSV1 of a ping": "c900",
    }.items():
        yield scenario(f"violation: compressed: {name}", [], [text("1")], compress=True, replies=[[["raw", frame]]])


def ends():
    """Ends without a complete closing handshake."""
    for name in ("eof", "abort"):
        yield scenario(f"{name} after opening", greeting=[[name]])
        yield scenario(f"{name} after a message", [], [text("1")], replies=[[[name]]], after=[text("late")])
        yield scenario(f"{name} after an echo", [], [text("1")], [text("2")], replies=[[["echo"]], [[name]]])
        yield scenario(f"{name} inside a frame", [], [text("1")], replies=[[["raw", "8105616263"], [name]]])
        yield scenario(f"{name} inside a message", [], [text("1")], replies=[[["raw", "0103616263"], [name]]])
    yield scenario("refused connection", get("readyState"), url="ws://127.0.0.1:1/", after=[text("x"), ["close", 4000]])


def listeners():
    """The order of listeners and handlers."""
    every = ADD_ALL
    yield scenario("listeners in order", every, [text("1")], [CLOSE])
    yield scenario("a handler between listeners", [every[2], *ASSIGN_ALL, every[3]], [text("1")], [CLOSE])
    replaced = [["assign", "onmessage", "handler"], every[2], ["assign", "onmessage", "other"]]
    yield scenario("a replaced handler keeps its place", replaced, [text("1")], [CLOSE])
    removed = [
        ["assign", "onmessage", "handler"],
        every[2],
        ["assign", "onmessage", None],
        ["assign", "onmessage", "handler"],
    ]
    yield scenario("a removed handler loses its place", removed, [text("1")], [CLOSE])
    yield scenario(
        "a listener added twice",
        [every[2], every[2], ["add", "message", "first", True]],
        [text("1")],
        [text("2")],
        [CLOSE],
    )
    yield scenario("a listener for one event", [["add", "message", "first", True]], [text("1")], [text("2")], [CLOSE])
    yield scenario("a removed listener", [every[2], every[3], ["remove", "message", "first"]], [text("1")], [CLOSE])


def listener_actions():
    """Listeners that act."""
    every = ADD_ALL
    yield scenario(
        "a listener that removes the next one",
        [every[2], every[3]],
        [text("1")],
        [CLOSE],
        listeners={"first": [["remove", "message", "second"]]},
    )
    yield scenario(
        "a listener that adds another one",
        [every[2]],
        [text("1")],
        [text("2")],
        [CLOSE],
        listeners={"first": [["add", "message", "second"]]},
    )
    yield scenario(
        "a listener that removes itself",
        [every[2], every[3]],
        [text("1")],
        [text("2")],
        [CLOSE],
        listeners={"first": [["remove", "message", "first"]]},
    )
    yield scenario(
        "a listener that raises", [every[2], every[3]], [text("1")], [CLOSE], listeners={"first": [["throw"]]}
    )
    yield scenario(
        "a listener that closes",
        [every[2], every[3]],
        [text("1")],
        listeners={"first": [["close", 4000]]},
        replies=[[["echo"], ["echo"]]],
    )
    yield scenario(
        "a listener that closes in open", [["add", "open", "first"]], listeners={"first": [["close", 4000], text("x")]}
    )
    yield scenario(
        "listeners of a failed opening", [*every, *ASSIGN_ALL], response=["HTTP/1.1 403 Forbidden"], greeting=[["eof"]]
    )
    yield scenario("listeners of a violation", [*every, *ASSIGN_ALL], [text("1")], replies=[[["raw", "ff00"]]])
    yield scenario(
        "a listener of error that closes",
        [["add", "error", "first"]],
        [text("1")],
        replies=[[["raw", "ff00"]]],
        listeners={"first": [["get", "readyState"], ["close", 4000], text("x")]},
    )


def make_random(name, source):
    """Return a scenario whose client and server take turns at random.

    The client sends some messages; the server answers the last one; the client answers its last
    message, and so on: so that the order of all events is determined.
    """
    turns, replies = [[["set", "binaryType", "arraybuffer"]]], []
    turns[0] += [random_action(source) for _ in range(source.randrange(3))]
    for _ in range(source.randint(1, 6)):
        turn = [random_action(source) for _ in range(source.randrange(3))]
        if any(action[0] == "close" and is_valid(*action[1:]) for action in turn):
            return finish(name, source, [*turns, turn], replies)
        sends = [random_send(source) for _ in range(source.randint(1, 3))]
        turns.append(turn + sends)
        count = sum(action[0] == "send" for action in turn + sends)
        replies += [[] for _ in range(count - 1)]
        answers = [random_reply(source) for _ in range(source.randint(1, 3))]
        replies.append(answers)
        if source.random() < 0.15:
            end = random_end(source)
            # Chromium may lose messages that arrive together with the end.
            replies[-1] = [*answers, *end] if end[0][0] == "close" else end
            return finish(name, source, turns, replies)
        messages = sum(action[0] in ("echo", "send", "fragments") for action in answers)
        turns += [[get_random(source)] for _ in range(messages - 1)]
    turns.append([["close", *source.choice([(), (1000,), (3000, "é"), (4999, "x" * 123), (None,)])]])
    return finish(name, source, turns, replies)


def finish(name, source, turns, replies):
    after = [random_action(source) for _ in range(source.randrange(4))]
    return {"name": name, "turns": turns, "replies": replies, "after": after, "compress": source.random() < 0.3}


def is_valid(code=None, reason=None):
    return (code in (None, 1000) or 3000 <= code <= 4999) and len((reason or "").encode(errors="replace")) <= 123


def get_random(source):
    return ["get", source.choice(["readyState", "protocol", "binaryType", "url", "onopen"])]


def random_send(source):
    if source.random() < 0.5:
        return text(source.choice(["", "x", "é", "€uro", "😀", "\ud800"]), source.choice([0, 1, 1, 7, 126, 70_000]))
    return binary(source.choice(SIZES), source.choice(["array", "buffer", "view", "blob"]))


def random_action(source):
    chance = source.random()
    if chance < 0.3:
        return random_send(source)
    if chance < 0.5:
        code = source.choice([1000, 1001, 3000, 4000, 5000])
        return source.choice([["close"], ["close", code], ["close", code, source.choice(["", "bye", "x" * 124, None])]])
    if chance < 0.65:
        return ["set", "binaryType", source.choice(["blob", "arraybuffer", "other"])]
    return get_random(source)


def random_reply(source):
    return source.choice([
        ["echo"],
        ["send", {"text": "ä", "times": source.choice([0, 1, 100, 50_000])}],
        ["send", {"bytes": source.choice(SIZES)}],
        ["fragments", {"text": "a"}, {"text": ""}, {"text": "é", "times": 50_000}],
    ])  # fmt: skip


def random_end(source):
    return source.choice([
        [["close", source.choice([None, 1000, 1001, 1011, 3000, 4999])]],
        [["close", 4000, "server"]],
        [["ping", "x"], ["close", 1000]],
        [["eof"]],
        [["raw", source.choice(["ff00", "8102c328", "8103", "880103"])], ["eof"]],
    ])  # fmt: skip
