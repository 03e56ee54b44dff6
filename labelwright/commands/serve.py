"""Serve a model over HTTP; /docs describes the API.

Without --model, the model of LABELWRIGHT_MODEL is served, else the only champion of the registry.
If the URI names an alias, the service follows it: when the alias moves, the new version replaces
the old one without a pause. If the registry is down, the service starts with the last model that it
served. Requests to a loopback address need no API key; on any other address they do, see
`labelwright keys --help`.
"""

import argparse
import contextlib
import os
import sys

from labelwright.commands import options


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    options.add_model(parser, required=False)
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)"
    )
    parser.add_argument("--port", type=options.port, default=8000, help="port (default: 8000)")
    parser.add_argument(
        "--workers",
        type=options.positive,
        default=1,
        metavar="N",
        help="worker processes (default: 1)",
    )
    parser.add_argument(
        "--keys",
        action=argparse.BooleanOptionalAction,
        help="require API keys, or do not, on any address",
    )
    parser.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="accept only requests for this host name, without port; *.NAME for all its "
        "subdomains; may be repeated (default: any name, or only local names on a loopback address "
        "without keys)",
    )
    parser.add_argument(
        "--log-format",
        choices=("json", "text"),
        default="text" if sys.stderr.isatty() else "json",
        help="format of log lines on standard error (default: text on a terminal, else json)",
    )
    parser.add_argument(
        "--poll",
        type=_seconds,
        default=5.0,
        metavar="SECONDS",
        help="seconds between two requests to the registry for the alias (default: 5)",
    )
    challenger = parser.add_mutually_exclusive_group()
    challenger.add_argument(
        "--challenger",
        type=_percent,
        default=0.0,
        metavar="PERCENT",
        help="percentage of requests for which the model of the alias challenger is used",
    )
    challenger.add_argument(
        "--shadow",
        action="store_true",
        help="label the same entities with the challenger too, and compare the predictions",
    )


def run(arguments: argparse.Namespace) -> None:
    """Find the model and serve it until a signal stops the service."""
    from labelwright.entities.errors import RequestError
    from labelwright.models.registry import is_alias
    from labelwright.service.telemetry.shared_folder import shared_metrics

    uri = arguments.model or os.environ.get("LABELWRIGHT_MODEL") or _only_model()
    challenged = arguments.shadow or arguments.challenger > 0
    if challenged and not is_alias(uri):
        raise RequestError(
            "--challenger and --shadow need a model URI with an alias, like models:/NAME@champion; "
            f"found {uri!r}"
        )
    # Uvicorn finishes the requests in flight, and then raises the signal again.
    with contextlib.suppress(KeyboardInterrupt), shared_metrics(arguments.workers):
        from labelwright.service.middleware.access import access_for
        from labelwright.service.rollout.follower import FollowerSettings
        from labelwright.service.rollout.state import Routing
        from labelwright.service.server import serve
        from labelwright.service.settings import Settings
        from labelwright.service.telemetry.logs import LogFormat

        allowed = access_for(
            arguments.host, arguments.keys, tuple(arguments.allowed_host), arguments.workers
        )
        settings = Settings(allowed, LogFormat(arguments.log_format))
        routing = Routing(arguments.challenger / 100, arguments.shadow)
        serve(
            FollowerSettings(uri, routing, arguments.poll), arguments.host, arguments.port, settings
        )


def _only_model() -> str:
    """The only champion of the registry; if that is down, the only model that was served."""
    from labelwright.entities.errors import RegistryError
    from labelwright.models.registry import only_champion
    from labelwright.service.rollout.state import last_good_uris

    try:
        return only_champion()
    except RegistryError:
        served = last_good_uris()
        if len(served) != 1:
            raise
        return served[0]


def _percent(text: str) -> float:
    """Parse a percentage."""
    number = float(text)
    if not 0 <= number <= 100:
        raise argparse.ArgumentTypeError("must lie between 0 and 100")
    return number


def _seconds(text: str) -> float:
    """Parse an interval in seconds."""
    number = float(text)
    if not 0.05 <= number <= 86_400:
        raise argparse.ArgumentTypeError("must lie between 0.05 and 86400")
    return number
