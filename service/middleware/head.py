"""Middleware for HEAD: every path that has a response to GET has the same headers for HEAD."""

from starlette.types import ASGIApp, Receive, Scope, Send


class HeadMiddleware:
    """ASGI middleware that passes HEAD requests on as GET; the server leaves out the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to the request; the route is stored in `scope`, for the request log."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        get = {**scope, "method": "GET"}
        try:
            await self._app(get, receive, send)
        finally:
            scope.update({**get, "method": "HEAD"})
