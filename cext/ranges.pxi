# An int that does not fit is clipped, and lies outside any range then.
cdef extern from "objects.h":
    Py_ssize_t clipped "framewire_clip" (object number) except? -1


cdef inline int check_range(Py_ssize_t start, Py_ssize_t stop, Py_ssize_t size) except -1:
    if not 0 <= start <= stop <= size:
        raise ValueError("the range lies outside the data")
    return 0
