# cython: language_level=3
# Interface of dispatch.pyx: the kernels that all compiled twins call.
from libc.stdint cimport uint8_t

from kernels cimport framewire_accept, framewire_kernels, framewire_utf8_state


cdef const framewire_kernels *kernels
cdef framewire_accept *accept
cdef size_t utf8_feed(framewire_utf8_state *state, const uint8_t *src, size_t size) noexcept
