"""Serve a model over HTTP until it is stopped; /docs describes the interface.

Without --model it serves the one that LABELWRIGHT_MODEL names, else the only champion there is.
"""

import argparse
import contextlib
import os
import signal

from labelwright.commands import options


def configure(parser: argparse.ArgumentParser) -> None:
    """State the options."""
    options.add_model(parser, required=False)
    parser.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1")
    parser.add_argument("--port", type=options.port, default=8000, help="default: 8000")
    parser.add_argument(
        "--workers", type=options.positive, default=1, metavar="N", help="processes (default: 1)"
    )


def run(given: argparse.Namespace) -> None:
    """Find the model and serve it."""
    from models.registry import load_model, only_champion
    from service.server import MODEL_VARIABLE, serve

    uri = given.model or os.environ.get(MODEL_VARIABLE) or only_champion()
    # Uvicorn ends what is in flight, then raises the signal again for whoever handled it before.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        serve(load_model(uri), given.host, given.port, given.workers)
