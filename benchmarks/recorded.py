"""Figures measured on other machines.

The libraries cannot be installed from a package index. Their columns are marked "(recorded)".
libmicrohttpd: the WebSocket codec libmicrohttpd_ws, called from C, decoding masked text. simdutf:
its validator, called from C++. If a range was recorded, the better end is used.
"""

#: Nanoseconds per masked text message, by payload size in bytes.
LIBMICROHTTPD_TEXT = {16: 85.0, 125: 260.0, 1024: 3_100.0, 16384: 48_000.0}
#: Nanoseconds per accept key.
LIBMICROHTTPD_ACCEPT = 240.0
#: GB/s by payload size in bytes, for ASCII and for other text.
SIMDUTF_ASCII = {125: 19.0, 4096: 70.0}
SIMDUTF_OTHER = {125: 9.0, 4096: 11.0}
