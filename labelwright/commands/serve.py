"""Serve a model over HTTP; /docs describes the API.

Without --model, the model of LABELWRIGHT_MODEL is served, or else the only champion of the
registry. If the URI has an alias, the service follows the alias: when the alias moves, the new
version replaces the old one without a pause. If the registry is down, the service starts with the
model that was last served for the URI. Clients need an API key (see `labelwright keys --help`),
except on a loopback address.
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
        help="require API keys on any address, or on no address (default: except on a loopback "
        "address)",
    )
    parser.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="accept only requests for this host name, without port; *.NAME means all subdomains "
        "of NAME; may be repeated (default: any name, or only local names on a loopback address "
        "without keys)",
    )
    parser.add_argument(
        "--address-rate",
        type=_rate,
        default=0.0,
        metavar="N",
        help="allowed requests a second of each client address, with or without a key (default: "
        "any rate)",
    )
    parser.add_argument(
        "--address-burst",
        type=options.positive,
        metavar="N",
        help="allowed requests of an address at once, if there is a rate (default: the requests of "
        "one second)",
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
        help="time between two requests to the registry for the alias (default: 5)",
    )
    challenger = parser.add_mutually_exclusive_group()
    challenger.add_argument(
        "--challenger",
        type=_percent,
        default=0.0,
        metavar="PERCENT",
        help="percentage of requests that the model of the alias `challenger` labels (default: 0)",
    )
    challenger.add_argument(
        "--shadow",
        action="store_true",
        help="also label the entities with the model of the alias `challenger`, and compare the "
        "predictions; responses come from the champion",
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
    # After a signal, Uvicorn finishes the requests in progress, and then raises the signal again.
    with contextlib.suppress(KeyboardInterrupt), shared_metrics(arguments.workers):
        from labelwright.service.middleware.access import access_for
        from labelwright.service.middleware.rate_limit import Rate
        from labelwright.service.rollout.follower import FollowerSettings
        from labelwright.service.rollout.state import Routing
        from labelwright.service.server import serve
        from labelwright.service.settings import Settings
        from labelwright.service.telemetry.logs import LogFormat

        rate = arguments.address_rate
        allowed = access_for(
            arguments.host,
            arguments.keys,
            tuple(arguments.allowed_host),
            arguments.workers,
            Rate(rate, arguments.address_burst or max(1, round(rate))),
        )
        settings = Settings(allowed, LogFormat(arguments.log_format))
        routing = Routing(arguments.challenger / 100, arguments.shadow)
        serve(
            FollowerSettings(uri, routing, arguments.poll), arguments.host, arguments.port, settings
        )


def _only_model() -> str:
    """The URI of the only champion of the registry.

    If the registry is down, it is the URI that was served before, if there is only one.
    """
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


def _rate(text: str) -> float:
    """Parse a number of requests a second."""
    number = float(text)
    if not 0 < number <= 1_000_000:
        raise argparse.ArgumentTypeError("must be above 0 and at most 1000000")
    return number


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
