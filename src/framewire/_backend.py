"""Selection of the backend, once per process: compiled (`_fast`) or pure Python (`_pure`).

FRAMEWIRE_BACKEND: unset (compiled if installed), `fast` (compiled, or an ImportError), or `pure`.
FRAMEWIRE_SIMD: unset (the best instruction set of the processor), or one that `framewire doctor`
lists.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

#: The names that each module of `_pure` and `_fast` defines.
TWINS = {
    "header": ("read_header", "write_header"),
    "mask": ("apply_mask", "apply_mask_in_place"),
    "utf8": ("Utf8Validator",),
    "accept": ("accept_key",),
    "head": ("split_head",),
    "frames": ("take_frames", "take_payload", "take_key", "make_frame", "make_parts"),
    "deflate": ("Deflate",),
    "partial_message": ("PartialMessage",),
    "stream_core": ("StreamCore",),
    "writer": ("SocketWriter",),
    "waiter": ("ReceiveWaiter",),
}


class Backend(NamedTuple):
    """The active backend.

    Attributes:
        name: "fast" (compiled) or "pure".
        instruction_set: The instruction set of the kernels, such as "avx2"; None if `name` is
            "pure".
    """

    name: str
    instruction_set: str | None


def load(folder: str) -> dict[str, Any]:
    """Import the twins in a folder, `_fast` or `_pure`. ImportError if one of them is missing."""
    modules = {stem: import_module(f"{__package__}.{folder}.{stem}") for stem in TWINS}
    return {name: getattr(modules[stem], name) for stem, names in TWINS.items() for name in names}


def instruction_sets() -> list[str]:
    """Return the instruction sets that this processor supports, best first."""
    names: list[str] = import_module(f"{__package__}._fast.dispatch").instruction_sets()
    return names


def use_instruction_set(name: str | None) -> str:
    """Switch the compiled twins to an instruction set.

    Args:
        name: The instruction set; None selects the best one.

    Returns:
        The selected instruction set.

    Raises:
        ImportError: The processor does not support it.
    """
    name = name or instruction_sets()[0]
    try:
        import_module(f"{__package__}._fast.dispatch").use_instruction_set(name)
    except ValueError as error:
        raise ImportError(f"FRAMEWIRE_SIMD: {error}") from None
    return name


def choose() -> tuple[Backend, dict[str, Any]]:
    """Read the two environment variables and load the twins that they select."""
    wanted = os.environ.get("FRAMEWIRE_BACKEND", "")
    if wanted not in ("", "fast", "pure"):
        raise ImportError(f"FRAMEWIRE_BACKEND is {wanted!r}; it takes fast, pure, or nothing")
    if wanted != "pure":
        try:
            twins = load("_fast")
        except ImportError as error:
            if wanted == "fast":
                raise ImportError(
                    f"FRAMEWIRE_BACKEND is fast, but the compiled twins are not there ({error}); install a wheel, or "
                    "a C compiler and then framewire with FRAMEWIRE_EXTENSIONS=1"
                ) from error
        else:
            return Backend("fast", use_instruction_set(os.environ.get("FRAMEWIRE_SIMD") or None)), twins
    return Backend("pure", None), load("_pure")


def _is_command_line() -> bool:
    """Whether this process is `framewire ...` or `python -m framewire ...`."""
    program, *arguments = sys.orig_argv[1:3] or [""]
    return os.path.basename(program) in ("framewire", "framewire.exe") or [program, *arguments] == ["-m", "framewire"]


try:
    active, _twins = choose()
except ImportError as _error:
    # The command line is in this package, so it cannot report the error itself.
    if not _is_command_line():
        raise
    print(f"framewire: {_error}", file=sys.stderr)
    raise SystemExit(78) from None  # EX_CONFIG

if TYPE_CHECKING:
    from ._pure.accept import accept_key
    from ._pure.deflate import Deflate
    from ._pure.frames import make_frame, make_parts, take_frames, take_key, take_payload
    from ._pure.head import split_head
    from ._pure.header import read_header, write_header
    from ._pure.mask import apply_mask, apply_mask_in_place
    from ._pure.partial_message import PartialMessage
    from ._pure.stream_core import StreamCore
    from ._pure.utf8 import Utf8Validator
    from ._pure.waiter import ReceiveWaiter
    from ._pure.writer import SocketWriter
else:
    globals().update(_twins)

__all__ = [
    "Deflate",
    "PartialMessage",
    "ReceiveWaiter",
    "SocketWriter",
    "StreamCore",
    "Utf8Validator",
    "accept_key",
    "apply_mask",
    "apply_mask_in_place",
    "backend",
    "make_frame",
    "make_parts",
    "read_header",
    "split_head",
    "take_frames",
    "take_key",
    "take_payload",
    "write_header",
]


def backend() -> Backend:
    """Return the active backend, for example ("fast", "avx2") or ("pure", None)."""
    return active
