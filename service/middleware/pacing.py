"""Large responses: sent in parts as the client reads them, and counted as memory of the client."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from labelwright.entities.errors import OverloadedError
from labelwright.service.engine.engine import Engine
from labelwright.service.http.errors import error_response

PART_BYTES = 1 << 16
"""Size of a part, in bytes. A smaller response is sent at once."""


class PacingMiddleware:
    """ASGI middleware that holds the unsent rest of a large response, and not the server's buffer.

    The rest counts towards the client's share of memory. A response that exceeds the share is
    replaced by status 503.
    """

    def __init__(self, app: ASGIApp, engine: Engine) -> None:
        self._app = app
        self._engine = engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to the request."""
        start: Message | None = None
        refused = False

        async def send_paced(message: Message) -> None:
            nonlocal start, refused
            if message["type"] != "http.response.body":
                start = message  # sent with the first part of the body, if there is memory for it
                return
            if refused:
                return
            try:
                await self._send_parts(start, message, send)
            except OverloadedError as error:
                if start is None:
                    raise
                refused = True
                await error_response(error)(scope, receive, send)
            start = None

        await self._app(scope, receive, send_paced if scope["type"] == "http" else send)

    async def _send_parts(self, start: Message | None, message: Message, send: Send) -> None:
        """Send a part of a response; raises OverloadedError before anything is sent."""
        content = memoryview(message.get("body", b""))
        if len(content) <= PART_BYTES:
            if start is not None:
                await send(start)
            await send(message)
            return
        with self._engine.holding_memory() as held:
            self._engine.hold(held, len(content))
            if start is not None:
                await send(start)
            for at in range(0, len(content), PART_BYTES):
                part = bytes(content[at : at + PART_BYTES])
                more = at + PART_BYTES < len(content) or message.get("more_body", False)
                await send({"type": message["type"], "body": part, "more_body": more})
