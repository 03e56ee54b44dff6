"""Routes of the web page at `/`: static files. The page uses the public API of the service."""

from pathlib import Path

import fastapi
from fastapi import Request, Response
from starlette.staticfiles import StaticFiles

FILES = {
    "/": "index.html",
    **{
        f"/{name}": name
        for name in (
            "results.js",
            "api.js",
            "charts.js",
            "dom.js",
            "icon.svg",
            "main.js",
            "model.js",
            "records.js",
            "review.js",
            "style.css",
            "try.js",
        )
    },
}
"""Files of the page by path. They are served without a key: the page asks the user for it."""


def page_routes() -> fastapi.APIRouter:
    """Router of `GET` for each file of the page."""
    router = fastapi.APIRouter(include_in_schema=False)
    files = StaticFiles(directory=Path(__file__).parents[1] / "page")

    async def send(request: Request) -> Response:
        response = await files.get_response(FILES[request.url.path], request.scope)
        response.headers["cache-control"] = (
            "no-cache"  # the browser checks for changes before each use
        )
        return response

    for path in FILES:
        router.add_api_route(path, send, methods=["GET"], response_model=None)
    return router
