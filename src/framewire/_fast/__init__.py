"""The compiled twins, if they were built; `_backend` chooses.

The .pxd files are their interfaces in Cython.
"""
