# An int that does not fit is clipped, and lies outside any range then.
cdef extern from "Python.h":
    Py_ssize_t clipped "PyNumber_AsSsize_t" (object number, void *overflow) except? -1
