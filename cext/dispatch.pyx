# cython: language_level=3, binding=True, annotation_typing=False, freethreading_compatible=True, auto_pickle=False
# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The kernels that all compiled twins call.

They are linked into this module only. By default, the best instruction set of the processor is
selected.
"""

from __future__ import annotations

from libc.stdint cimport uint8_t

from kernels cimport (
    framewire_available,
    framewire_best_accept,
    framewire_kernels,
    framewire_utf8_feed,
    framewire_utf8_state,
)

accept = framewire_best_accept()


def instruction_sets() -> list[str]:
    """Return the names of the instruction sets that this processor supports, best first."""
    cdef const framewire_kernels *const *tables
    cdef size_t count = framewire_available(&tables)
    return [tables[i].name.decode() for i in range(count)]


def use_instruction_set(name: str) -> None:
    """Switch all compiled twins to the kernels of an instruction set.

    No other thread may use framewire during the call.

    Args:
        name: One of `instruction_sets()`.

    Raises:
        ValueError: The processor does not support it.
    """
    global kernels
    cdef const framewire_kernels *const *tables
    cdef size_t count = framewire_available(&tables)
    for i in range(count):
        if tables[i].name.decode() == name:
            kernels = tables[i]
            return
    raise ValueError(f"this processor has no {name!r}, but {', '.join(instruction_sets())}")


cdef size_t utf8_feed(framewire_utf8_state *state, const uint8_t *src, size_t size) noexcept:
    return framewire_utf8_feed(kernels, state, src, size)


use_instruction_set(instruction_sets()[0])
