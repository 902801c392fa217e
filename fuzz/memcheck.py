"""Exit with status 1 if a report of memcheck has errors of the extensions: `memcheck.py XML`.

An error belongs to the innermost frame outside the C library and outside memcheck's replacements of its
functions. Errors inside the interpreter are not ours.
"""

import sys
from xml.etree import ElementTree

#: Parts of the paths of the libraries whose functions work for their callers.
CALLED = ("/vgpreload_", "/libc.", "/libc-")


def owner(error):
    """Return the path of the library that an error belongs to, "" if it is not known."""
    objects = (frame.findtext("obj", "") for frame in error.iterfind("stack[1]/frame"))
    return next((path for path in objects if not any(part in path for part in CALLED)), "")


def main(report):
    ours = [error for error in ElementTree.parse(report).iter("error") if "/_fast/" in owner(error)]
    for error in ours:
        frames = [frame.findtext("fn", "?") for frame in error.iterfind("stack[1]/frame")]
        print(error.findtext("what") or error.findtext("xwhat/text"), "in", " < ".join(frames[:5]))
    return bool(ours)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
