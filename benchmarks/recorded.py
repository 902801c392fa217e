"""Figures that cannot be measured here, taken on other machines: each is shown as recorded, and as nothing else.

libmicrohttpd_ws: the WebSocket codec of GNU libmicrohttpd, called from C, decoding masked text. simdutf: its
validator, called from C++. Where a range was recorded, the better end counts.
"""

#: Nanoseconds per masked text message, by payload size in bytes.
LIBMICROHTTPD_TEXT = {16: 85.0, 125: 260.0, 1024: 3_100.0, 16384: 48_000.0}
#: Nanoseconds per accept key.
LIBMICROHTTPD_ACCEPT = 240.0
#: Gigabytes per second, by payload size in bytes: of ASCII, and of any other text.
SIMDUTF_ASCII = {125: 19.0, 4096: 70.0}
SIMDUTF_OTHER = {125: 9.0, 4096: 11.0}
