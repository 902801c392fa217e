"""Requests and responses of the opening handshake, under the module name that they have in
websockets.
"""

from .http.client_handshake import USER_AGENT
from .http.http11 import Request, Response
from .http.server_policy import SERVER_HEADER as SERVER

__all__ = ["SERVER", "USER_AGENT", "Request", "Response"]
