"""Serve a model over HTTP until it is stopped; /docs describes the interface.

Without --model it serves the one that LABELWRIGHT_MODEL names, else the only champion there is.
On a loopback address it asks for no key; on any other it does, see `labelwright keys --help`.
"""

import argparse
import contextlib
import os
import signal
import sys

from labelwright.commands import options


def configure(parser: argparse.ArgumentParser) -> None:
    """State the options."""
    options.add_model(parser, required=False)
    parser.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1")
    parser.add_argument("--port", type=options.port, default=8000, help="default: 8000")
    parser.add_argument(
        "--workers", type=options.positive, default=1, metavar="N", help="processes (default: 1)"
    )
    parser.add_argument(
        "--keys",
        action=argparse.BooleanOptionalAction,
        help="ask for keys, or not, whatever the address is",
    )
    parser.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="answer only requests for this name, without port; *.NAME for all below it (may be "
        "repeated; default: any, on a loopback address without keys local names only)",
    )
    parser.add_argument(
        "--log-format",
        choices=("json", "text"),
        default="text" if sys.stderr.isatty() else "json",
        help="lines on standard error (default: text on a terminal, else json)",
    )


def run(given: argparse.Namespace) -> None:
    """Find the model and serve it."""
    from models.registry import load_model, only_champion
    from service.sharing import shared_figures

    uri = given.model or os.environ.get("LABELWRIGHT_MODEL") or only_champion()
    # Uvicorn ends what is in flight, then raises the signal again for whoever handled it before.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), shared_figures(given.workers):
        from service.access import access
        from service.logs import LogFormat
        from service.server import serve
        from service.settings import Settings

        allowed = access(given.host, given.keys, tuple(given.allowed_host), given.workers)
        settings = Settings(allowed, LogFormat(given.log_format))
        serve(load_model(uri), given.host, given.port, settings)
