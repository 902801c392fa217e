# An int that does not fit is clipped, and lies outside any range then.
cdef extern from "objects.h":
    Py_ssize_t clipped "framewire_clip" (object number) except? -1
