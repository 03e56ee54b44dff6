"""Write a model to one file, which `labelwright import model` registers on another machine.

The file is an uncompressed ZIP archive with the files of the bundle, and has no code. The same
model gives the same file. FILE appears when it is complete; an existing file is replaced.
"""

import argparse
import json

from labelwright.commands import options


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "uri",
        metavar="URI",
        help="a bundle folder, runs:/RUN_ID/model, models:/NAME@ALIAS or models:/NAME/VERSION",
    )
    parser.add_argument("file", metavar="FILE", help="a path or an address (s3://, gs://)")
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Write the file and print its model."""
    from labelwright.entities.io.locations import locate as locate_file
    from labelwright.models.bundle.archive import write_archive
    from labelwright.models.registry import fetch, locate

    output = locate_file(arguments.file)
    manifest = write_archive(fetch(locate(arguments.uri)).folder, output)
    print(f"content {manifest.content} -> {arguments.file}")
    if arguments.json:
        print(json.dumps({"file": arguments.file, "content": manifest.content}))
