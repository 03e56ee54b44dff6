"""Make, list and revoke the keys that callers of the service show.

They lie in LABELWRIGHT_HOME/keys.json as hashes, and a running service notices changes within a
second. A key of the role label may ask for labels and read all else that is open to callers, one of
the role feedback may send corrections as well, and one of the role admin may do everything.
"""

import argparse

from labelwright.commands import options


def configure(parser: argparse.ArgumentParser) -> None:
    """State the options."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")
    create = actions.add_parser(
        "create", help="make a key and show it, once", description="Make a key and show it, once."
    )
    create.add_argument("name", metavar="NAME", help="whose it is, or what for")
    create.add_argument(
        "--role", choices=("label", "feedback", "admin"), default="label", help="default: label"
    )
    create.add_argument(
        "--rate",
        type=float,
        default=0.0,
        metavar="R",
        help="requests a second that it may send (default: any number)",
    )
    create.add_argument(
        "--burst",
        type=options.positive,
        default=0,
        metavar="N",
        help="requests that it may send at once, if it has a rate (default: those of a second)",
    )
    listing = actions.add_parser("list", help="list all keys", description="List all keys.")
    options.add_json(listing)
    revoke = actions.add_parser(
        "revoke", help="let a key open nothing more", description="Let a key open nothing more."
    )
    revoke.add_argument("key", metavar="NAME|ID", help="as `keys list` shows it")


def run(given: argparse.Namespace) -> None:
    """Do one of them."""
    {"create": _create, "list": _list, "revoke": _revoke}[given.action](given)


def _create(given: argparse.Namespace) -> None:
    from labelwright.service.middleware.access import keyring
    from labelwright.service.middleware.keys import Role

    print(keyring().create(given.name, Role(given.role), given.rate, given.burst))


def _list(given: argparse.Namespace) -> None:
    import json

    from labelwright.service.middleware.access import keyring

    keys = list(keyring().read().values())
    told = ("id", "name", "role", "rate", "burst", "created")
    if given.json:
        print(json.dumps([{name: getattr(key, name) for name in told} for key in keys]))
        return
    for key in keys:
        rate = f"{key.rate:g}/s, burst {key.burst}" if key.rate else "any rate"
        print(f"lw_{key.id}  {key.role:<8}  {rate:<20}  {key.created}  {key.name}")


def _revoke(given: argparse.Namespace) -> None:
    from labelwright.service.middleware.access import keyring

    key = keyring().revoke(given.key)
    print(f"lw_{key.id} ({key.name}) is revoked")
