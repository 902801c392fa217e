"""atheris: valid, damaged and random compressed messages, on both backends and for any cuts.

Valid messages must be received as they were sent. Input: 1 byte each of options, settings, limit
and cuts; then steps of 1 byte (see `send`), 1 byte of length and that many bytes.
"""

import zlib

import twins

LIMITS = [None, 1 << 20, 300, 5]

pure, fast = (twins.load(name, "extensions") for name in ("pure", "fast"))


def frame(first, payload, masked):
    """Build a frame with the masking key 0."""
    size = len(payload)
    length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
    return bytes([first, length[0] | masked << 7]) + length[1:] + bytes(4 * masked) + payload


def send(data, bits, resets, masked):
    """Run the steps in `data`; return the bytes sent, and the messages or, if invalid, None.

    Bits 0 and 1 of a step: text, text followed by a ping, binary, or raw content. Bit 2 ends the
    message, bits 3 to 5 repeat the content, bit 6 ends the compressed data with BFINAL, bit 7 flips
    a bit.
    """
    wire, meant, message, deflater = b"", [], None, zlib.compressobj(wbits=-bits)
    while len(data) > 1:
        (step, size), data = data[:2], data[2:]
        content, data = data[:size], data[size:]
        kind, last, final, damaged = step & 3, step & 4, step & 64, step & 128
        if kind == 3:
            wire += content if damaged else frame(0xC2, content, masked)
            meant = None
            continue
        content *= 1 + (step >> 3 & 7) ** 2
        payload = deflater.compress(content) + deflater.flush(zlib.Z_FINISH if final else zlib.Z_SYNC_FLUSH)
        if last and not final:
            payload = payload[:-4] or b"\0"
        if final or (last and resets):
            deflater = zlib.compressobj(wbits=-bits)
        if damaged and payload:
            place = size % len(payload)
            payload = payload[:place] + bytes([payload[place] ^ 1 << (size & 7)]) + payload[place + 1 :]
            meant = None
        opcode = 0 if message else 0x40 | 1 + (kind == 2)
        message = (message[0], message[1] + content) if message else (kind < 2, content)
        wire += frame((0x80 if last else 0) | opcode, payload, masked)
        if kind == 1:
            wire += frame(0x89, b"p", masked)
        if last:
            if meant is not None:
                meant.append(message)
            message = None
    return wire, meant


def run(package, options, codec, pieces):
    """Return the visible state of a stream, as text because the packages have distinct classes."""
    stream = package.Stream(**options, mask_source=bytes, extensions=[package.extensions.Deflate(**codec)])
    events = []
    for piece in pieces:
        events += stream.receive(piece)
    shown = stream.pending(), stream.state, stream.close_code, stream.close_reason
    return repr((events, shown, stream.receive_eof(), stream.pending())), events


def test(data):
    if len(data) < 4:
        return
    choice, settings, limit, cuts = data[:4]
    codec = {"decode_bits": 9 + settings % 7, "decode_resets": settings > 127}
    options = {
        "role": "server" if choice & 1 else "client",
        "fragments": bool(choice & 2),
        "text_as_bytes": bool(choice & 4),
        "max_message_size": LIMITS[limit % len(LIMITS)],
    }
    wire, meant = send(data[4:], *codec.values(), masked=choice & 1)
    pieces = twins.cut(wire, cuts % 24)
    whole, events = run(fast, options, codec, [wire])
    assert run(fast, options, codec, pieces)[0] == whole
    assert run(pure, options, codec, pieces)[0] == whole
    assert run(pure, options, codec, [wire])[0] == whole
    if meant is not None and not options["fragments"] and options["max_message_size"] is None:
        try:
            texts = [content.decode() if is_text else content for is_text, content in meant]
        except UnicodeDecodeError:
            assert type(events[-1]).__name__ == "Failure"
        else:
            messages = [event for event in events if type(event).__name__ in ("str", "bytes", "Text")]
            assert [getattr(message, "payload", message) for message in messages] == (
                [content for _, content in meant] if options["text_as_bytes"] else texts
            )


if __name__ == "__main__":
    twins.main(test)
