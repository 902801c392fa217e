"""A program for websockets with changed imports, for type checkers; never run."""

import framewire
from framewire import ConnectionClosed, Data, Headers, LoggerLike, Origin, Request, Response, Subprotocol
from framewire.asyncio.client import connect
from framewire.asyncio.server import ServerConnection, serve
from framewire.datastructures import HeadersLike, MultipleValuesError
from framewire.exceptions import InvalidHandshake, InvalidHeader, InvalidStatus, InvalidURI
from framewire.frames import CloseCode
from framewire.headers import build_host, parse_authorization_basic, parse_extension, parse_subprotocol
from framewire.http11 import USER_AGENT
from framewire.protocol import OPEN, Side, State
from framewire.typing import ExtensionHeader, StatusLike
from framewire.uri import WebSocketURI, parse_uri


def process_request(connection: ServerConnection, request: Request) -> Response | None:
    """Create a response with the keyword arguments of websockets."""
    if request.path == "/health":
        return Response(status_code=200, reason_phrase="OK", headers=Headers({"X": "1"}, Y="2"), body=b"")
    try:
        username, password = parse_authorization_basic(request.headers["Authorization"])
    except (KeyError, InvalidHeader, MultipleValuesError):
        return Response(401, "Unauthorized", Headers())
    return None if len(username) > len(password) else Response(403, "Forbidden")


async def handler(connection: ServerConnection) -> None:
    """States and codes."""
    connection.username = connection.username.upper()
    if connection.state is OPEN and State.OPEN > State.CONNECTING:
        await connection.close(CloseCode.GOING_AWAY)


async def main(logger: LoggerLike, status: StatusLike) -> Data:
    """Types of arguments and results."""
    uri: WebSocketURI = parse_uri("ws://localhost/")
    offers: list[ExtensionHeader] = parse_extension("permessage-deflate")
    chosen: list[Subprotocol] = parse_subprotocol("chat")
    origins = [Origin("https://example.org"), None]
    headers: HeadersLike = [("Host", build_host(uri.host, uri.port, uri.secure))]
    logger.info("%s %s %s", status, offers, Headers(headers).copy().serialize())
    async with serve(handler, "localhost", 0, origins=origins, subprotocols=chosen, process_request=process_request):
        try:
            async with connect("ws://localhost/", user_agent_header=USER_AGENT, subprotocols=chosen) as connection:
                return await connection.recv()
        except InvalidStatus as error:
            logger.info("%s %s %s", error.response.status_code, error.response.reason_phrase, error.response.body)
        except InvalidURI as error:
            logger.info("%s %s", error.uri, error.msg)
        except (InvalidHandshake, ConnectionClosed):
            logger.info("%s %s", Side.CLIENT, framewire.connect)
    return ""
