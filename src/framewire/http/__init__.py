"""The opening handshake without I/O: HTTP/1.1 messages, URIs, and what each side checks (RFC 6455 3
and 4).
"""
