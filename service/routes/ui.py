"""The page at `/`: plain files that ask the same API as everyone else."""

from pathlib import Path

import fastapi
from fastapi import Request, Response
from starlette.staticfiles import StaticFiles

FILES = {
    "/": "index.html",
    **{
        f"/{name}": name
        for name in (
            "answers.js",
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
"""The files of the page by path. They need no key: they hold nothing, and must ask for one."""


def page_routes() -> fastapi.APIRouter:
    """`GET` of each file."""
    router = fastapi.APIRouter(include_in_schema=False)
    files = StaticFiles(directory=Path(__file__).parents[1] / "page")

    async def send(request: Request) -> Response:
        response = await files.get_response(FILES[request.url.path], request.scope)
        response.headers["cache-control"] = "no-cache"  # kept, but asked for each time
        return response

    for path in FILES:
        router.add_api_route(path, send, methods=["GET", "HEAD"], response_model=None)
    return router
