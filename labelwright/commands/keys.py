"""Create, list and revoke API keys of the service.

Keys are stored as hashes in LABELWRIGHT_HOME/keys.json. A running service applies changes within a
second. A key with the role `label` permits everything except requests for corrections, `feedback`
also permits sending corrections, and `admin` also permits reading and deleting corrections.
"""

import argparse

from labelwright.commands import options


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")
    create = actions.add_parser(
        "create",
        help="create a key and print it",
        description="Create a key and print it. It cannot be printed again.",
    )
    create.add_argument("name", metavar="NAME", help="owner or purpose of the key")
    create.add_argument(
        "--role", choices=("label", "feedback", "admin"), default="label", help="default: label"
    )
    create.add_argument(
        "--rate",
        type=float,
        default=0.0,
        metavar="R",
        help="allowed requests per second (default: no limit)",
    )
    create.add_argument(
        "--burst",
        type=options.positive,
        default=0,
        metavar="N",
        help="allowed requests at once, if there is a rate (default: the requests of one second)",
    )
    listing = actions.add_parser("list", help="list all keys", description="List all keys.")
    options.add_json(listing)
    revoke = actions.add_parser(
        "revoke",
        help="revoke a key",
        description="Revoke a key: a running service refuses it within a second.",
    )
    revoke.add_argument("key", metavar="NAME|ID", help="name or id, as `keys list` prints them")


def run(arguments: argparse.Namespace) -> None:
    """Run the action."""
    {"create": _create, "list": _list, "revoke": _revoke}[arguments.action](arguments)


def _create(arguments: argparse.Namespace) -> None:
    from labelwright.models.audit import audit
    from labelwright.service.middleware.access import keyring
    from labelwright.service.middleware.keys import Role, key_id

    text = keyring().create(arguments.name, Role(arguments.role), arguments.rate, arguments.burst)
    audit("key created", key=key_id(text), name=arguments.name, role=arguments.role)
    print(text)


def _list(arguments: argparse.Namespace) -> None:
    import json

    from labelwright.service.middleware.access import keyring

    keys = list(keyring().read().values())
    fields = ("id", "name", "role", "rate", "burst", "created")
    if arguments.json:
        print(json.dumps([{name: getattr(key, name) for name in fields} for key in keys]))
        return
    for key in keys:
        rate = f"{key.rate:g}/s, burst {key.burst}" if key.rate else "any rate"
        print(f"lw_{key.id}  {key.role:<8}  {rate:<20}  {key.created}  {key.name}")


def _revoke(arguments: argparse.Namespace) -> None:
    from labelwright.models.audit import audit
    from labelwright.service.middleware.access import keyring

    key = keyring().revoke(arguments.key)
    audit("key revoked", key=key.id, name=key.name)
    print(f"lw_{key.id} ({key.name}) is revoked")
