# The kernels that a compiled module calls: the best that this processor runs, chosen at import.
from kernels cimport framewire_available, framewire_kernels

cdef const framewire_kernels *kernels = NULL


def instruction_sets():
    """The names of the instruction sets that this processor runs, best first."""
    cdef const framewire_kernels *const *tables
    cdef size_t count = framewire_available(&tables)
    return [tables[i].name.decode() for i in range(count)]


def use_instruction_set(name):
    """Switches this module to the kernels called `name`, one of instruction_sets()."""
    global kernels
    cdef const framewire_kernels *const *tables
    cdef size_t count = framewire_available(&tables)
    for i in range(count):
        if tables[i].name.decode() == name:
            kernels = tables[i]
            return
    raise ValueError(f"this processor has no {name!r}, but {', '.join(instruction_sets())}")


use_instruction_set(instruction_sets()[0])
