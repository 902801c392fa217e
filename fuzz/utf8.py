"""atheris: `Utf8Validator` on both backends, for any cuts, against CPython's decoder.

Input: 1 byte that selects the cuts, then the text.
"""

import twins

pure, fast = (twins.load(name, "_backend")._backend for name in ("pure", "fast"))


def run(validator, pieces):
    """Return the index of the first invalid byte or the length, and the number of missing bytes."""
    start = 0
    for piece in pieces:
        stop = validator.feed(piece)
        start += stop
        if stop < len(piece):
            break
    return start, validator.need


def test(data):
    if not data:
        return
    cuts, text = data[0] % 24, data[1:]
    whole = run(fast.Utf8Validator(), [text])
    assert run(fast.Utf8Validator(), twins.cut(text, cuts)) == whole
    assert run(pure.Utf8Validator(), twins.cut(text, cuts)) == whole
    try:
        text.decode()
        valid = range(len(text), len(text) + 1)
    except UnicodeDecodeError as error:
        valid = range(error.start, error.start + 4)
    assert whole[0] in valid
    assert (whole == (len(text), 0)) is (len(valid) == 1)


if __name__ == "__main__":
    twins.main(test)
