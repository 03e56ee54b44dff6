"""Serve a model over HTTP until it is stopped; /docs describes the interface.

Without --model it serves the one that LABELWRIGHT_MODEL names, else the only champion there is. An
alias is followed: the service takes what it moves to without a pause. With the registry down, it
starts from the last model that it served.
On a loopback address it asks for no key; on any other it does, see `labelwright keys --help`.
"""

import argparse
import contextlib
import os
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
    parser.add_argument(
        "--poll",
        type=_seconds,
        default=5.0,
        metavar="SECONDS",
        help="how often the registry is asked what the alias means (default: 5)",
    )
    compared = parser.add_mutually_exclusive_group()
    compared.add_argument(
        "--challenger",
        type=_percent,
        default=0.0,
        metavar="PERCENT",
        help="share of the requests that the model of the alias challenger answers",
    )
    compared.add_argument(
        "--shadow",
        action="store_true",
        help="let the challenger label what the champion answers, and compare them",
    )


def run(given: argparse.Namespace) -> None:
    """Find the model and serve it."""
    from labelwright.entities.errors import RequestError
    from labelwright.models.registry import is_alias
    from labelwright.service.telemetry.shared_folder import shared_metrics

    uri = given.model or os.environ.get("LABELWRIGHT_MODEL") or _only_model()
    challenged = given.shadow or given.challenger > 0
    if challenged and not is_alias(uri):
        raise RequestError("a challenger needs a champion that goes by an alias")
    # Uvicorn ends what is in flight, and then raises the signal again.
    with contextlib.suppress(KeyboardInterrupt), shared_metrics(given.workers):
        from labelwright.service.middleware.access import access_for
        from labelwright.service.rollout.follower import Following
        from labelwright.service.rollout.state import Routing
        from labelwright.service.server import serve
        from labelwright.service.settings import Settings
        from labelwright.service.telemetry.logs import LogFormat

        allowed = access_for(given.host, given.keys, tuple(given.allowed_host), given.workers)
        settings = Settings(allowed, LogFormat(given.log_format))
        routing = Routing(given.challenger / 100, given.shadow)
        serve(Following(uri, routing, given.poll), given.host, given.port, settings)


def _only_model() -> str:
    """The only champion there is; with the registry down, the only model that has been served."""
    from labelwright.entities.errors import RegistryError
    from labelwright.models.registry import only_champion
    from labelwright.service.rollout.state import recalled_uris

    try:
        return only_champion()
    except RegistryError:
        served = recalled_uris()
        if len(served) != 1:
            raise
        return served[0]


def _percent(text: str) -> float:
    """A share of the requests, for argparse."""
    number = float(text)
    if not 0 <= number <= 100:
        raise argparse.ArgumentTypeError("must lie between 0 and 100")
    return number


def _seconds(text: str) -> float:
    """An interval, for argparse."""
    number = float(text)
    if not 0.05 <= number <= 86_400:
        raise argparse.ArgumentTypeError("must lie between 0.05 and 86400")
    return number
