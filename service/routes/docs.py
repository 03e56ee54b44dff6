"""Routes of the OpenAPI document: as JSON, and as an HTML page without external resources."""

import html
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import fastapi
from fastapi import Response
from fastapi.responses import HTMLResponse, JSONResponse

_STYLE = """\
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
section { border-top: 1px solid #8888; margin-top: 2rem; }
code, pre { font-family: ui-monospace, monospace; font-size: 0.875rem; }
pre { background: #8881; border-radius: 0.5rem; padding: 0.75rem; }
pre { overflow: auto; max-height: 30rem; }
th, td { text-align: left; vertical-align: top; padding: 0.2rem 1rem 0.2rem 0; }
"""
_LIMITS = {
    "minimum": "at least",
    "maximum": "at most",
    "minItems": "at least",
    "maxItems": "at most",
}


def docs_routes(document: Callable[[], dict[str, Any]]) -> fastapi.APIRouter:
    """Router of `GET /openapi.json` and `GET /docs`; `document` returns the OpenAPI document."""
    router = fastapi.APIRouter(include_in_schema=False)

    @router.get("/openapi.json")
    def openapi() -> JSONResponse:
        return JSONResponse(document())

    @router.get("/docs", response_class=HTMLResponse)
    def docs() -> str:
        return page(document())

    @router.get("/docs/style.css")
    def style() -> Response:
        return Response(_STYLE, media_type="text/css")

    return router


def page(document: Mapping[str, Any]) -> str:
    """An OpenAPI document as HTML."""
    info = document["info"]
    operations = [
        part
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        for part in _operation(f"{method.upper()} {path}", operation)
    ]
    return "\n".join(
        [
            '<!doctype html><html lang="en"><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width">',
            f"<title>{_text(info['title'])}</title>",
            '<link rel="stylesheet" href="docs/style.css">',
            f"<h1>{_text(info['title'])}</h1><p>{_text(info.get('summary', ''))}</p>",
            '<p>For programs: <a href="openapi.json">openapi.json</a></p>',
            *operations,
        ]
    )


def _operation(name: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"<section><h2><code>{_text(name)}</code></h2>"
    for paragraph in operation.get("description", "").split("\n\n"):
        yield f"<p>{_text(paragraph)}</p>"
    for parameter in operation.get("parameters", ()):
        yield from _table({parameter["name"]: parameter["schema"]})
    requests = operation.get("requestBody", {}).get("content", {})
    for media_type, content in requests.items():
        yield f"<h3>Request: {_text(media_type)}</h3>"
        yield from _table(content.get("schema", {}).get("properties", {}))
        yield from _examples(content)
    for media_type, content in operation["responses"].get("200", {}).get("content", {}).items():
        yield f"<h3>Response: {_text(media_type)}</h3>"
        yield from _examples(content)
    yield "</section>"


def _table(members: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield "<table>"
    for name, schema in members.items():
        parts = [f"{word} {schema[limit]:,}" for limit, word in _LIMITS.items() if limit in schema]
        if "default" in schema:
            parts.append(f"default {json.dumps(schema['default'])}")
        kind = schema.get("type") or [part.get("type", "") for part in schema.get("anyOf", ())]
        parts = [kind if isinstance(kind, str) else " or ".join(kind), *parts]
        parts.append(schema.get("description", ""))
        yield f"<tr><th><code>{_text(name)}</code><td>{_text(', '.join(filter(None, parts)))}"
    yield "</table>"


def _examples(content: Mapping[str, Any]) -> Iterator[str]:
    examples = [example["value"] for example in content.get("examples", {}).values()]
    for example in examples:
        yield f"<pre>{_text(json.dumps(example, indent=1, ensure_ascii=False))}</pre>"


def _text(value: object) -> str:
    return html.escape(str(value))
