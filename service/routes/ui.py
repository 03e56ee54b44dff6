"""Routes of the web page at `/`: static files, which use the public API of the service."""

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
"""The files of the page by path. They need no key, because the page asks the user for one."""


def page_routes() -> fastapi.APIRouter:
    """`GET` and `HEAD` of each file."""
    router = fastapi.APIRouter(include_in_schema=False)
    files = StaticFiles(directory=Path(__file__).parents[1] / "page")

    async def send(request: Request) -> Response:
        response = await files.get_response(FILES[request.url.path], request.scope)
        response.headers["cache-control"] = "no-cache"  # cached, but checked each time
        return response

    for path in FILES:
        router.add_api_route(path, send, methods=["GET", "HEAD"], response_model=None)
    return router
