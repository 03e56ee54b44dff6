"""Import places as a Parquet file for training, or a model that was exported elsewhere.

The places are those of OpenStreetMap, Overture Maps or Foursquare. The implications between labels
and the label groups of an open world are stored in the metadata of the file, and `labelwright
train` reads them. CSV, JSON Lines and GeoJSON need no import: every command reads them, and --map
gives the names of their columns.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from labelwright.commands import options

if TYPE_CHECKING:
    from labelwright.entities.geometry import Box
    from labelwright.entities.importers.places_file import ImportSummary

_BAR = "{desc} {percentage:3.0f}% |{bar}| {postfix} {elapsed}"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    sources = parser.add_subparsers(title="sources", metavar="SOURCE", required=True)
    osm = sources.add_parser(
        "osm",
        help="named places of an OpenStreetMap extract (.osm.pbf)",
        description="Import the named places of an OpenStreetMap extract. The position of a way or "
        "an area is its centre. A mapping file lists the tags that become labels and the tags that "
        "become columns.",
    )
    _add_paths(osm, "FILE.osm.pbf")
    osm.add_argument(
        "--mapping",
        type=Path,
        metavar="FILE",
        help="TOML file to use instead of the default mapping",
    )
    osm.add_argument(
        "--print-mapping", action=_PrintMapping, nargs=0, help="print the default mapping and exit"
    )
    osm.set_defaults(importer=_import_osm)
    overture = sources.add_parser(
        "overture",
        help="places of Overture Maps (GeoParquet)",
        description="Import the theme `places` of Overture Maps. Categories become labels; the "
        "label of a category implies the labels of its parent categories.",
    )
    _add_paths(overture, "PATH")
    overture.add_argument(
        "--categories",
        type=Path,
        metavar="FILE",
        help="overture_categories.csv, for releases without the column `taxonomy`",
    )
    overture.set_defaults(importer=_import_overture)
    foursquare = sources.add_parser(
        "foursquare",
        help="Foursquare's Open Source Places (Parquet)",
        description="Import Foursquare's Open Source Places. Categories become labels; the label "
        "of a category implies the labels of its parent categories.",
    )
    _add_paths(foursquare, "PATH")
    foursquare.set_defaults(importer=_import_foursquare)
    model = sources.add_parser(
        "model",
        help="a model that `labelwright export` wrote",
        description="Register a model that `labelwright export` wrote as a new version. It becomes "
        "the champion if there is no champion yet. The file is checked before anything is "
        "registered.",
    )
    _add_model_options(model)


def run(arguments: argparse.Namespace) -> None:
    """Import the places or the model."""
    arguments.action(arguments)


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", metavar="FILE", help="the file: a path or an address (s3://, gs://)"
    )
    parser.add_argument(
        "--name", required=True, metavar="NAME", help="registered name of the model"
    )
    promote = parser.add_mutually_exclusive_group()
    promote.add_argument(
        "--promote",
        action="store_true",
        default=None,
        help="make the version the champion, even if there is a champion",
    )
    promote.add_argument(
        "--no-promote",
        dest="promote",
        action="store_false",
        help="register the version without changing the champion",
    )
    options.add_json(parser)
    parser.set_defaults(action=_import_model)


def _import_model(arguments: argparse.Namespace) -> None:
    """Import the model and print its version."""
    from labelwright.training.importing import import_model

    imported = import_model(arguments.file, arguments.name, arguments.promote)
    registered, verdict, origin = imported.registered, imported.verdict, imported.origin
    options.warn(imported.warnings)
    print(f"run      {registered.run_id}")
    print(f"model    {registered.uri}")
    print(
        f"content  {imported.content}, trained as {origin.name!r} by labelwright {origin.version}"
    )
    print(f"champion {'promoted' if verdict.promoted else 'not promoted'}: {verdict.reason}")
    if arguments.json:
        summary = {
            "run_id": registered.run_id,
            "model_uri": registered.uri,
            "version": registered.version,
            "promoted": verdict.promoted,
            "reason": verdict.reason,
            "content": imported.content,
            "origin": origin.name,
            "origin_version": origin.version,
        }
        print(json.dumps(summary))


def _import_places(arguments: argparse.Namespace) -> None:
    """Import the places and print their number."""
    from labelwright.entities.geometry import Box
    from labelwright.entities.importers.places_file import CLOSED

    box = Box.parse(arguments.bbox) if arguments.bbox else None
    imported: ImportSummary = arguments.importer(arguments, box)
    print(
        f"{imported.places:,} places, {imported.labelled:,} of them labelled -> {arguments.output}"
    )
    print(
        f"{len(imported.labels):,} labels, {len(imported.implies):,} of them imply others; "
        f"{len(imported.open_world):,} label groups have an open world"
    )
    if imported.unplaced:
        print(f"without a position: {imported.unplaced:,} places")
    if any(imported.left_out.values()):
        reasons = ", ".join(
            f"{count:,} ({reason})" for reason, count in imported.left_out.items() if count
        )
        option = "; --closed imports closed places" if imported.left_out[CLOSED] else ""
        print(f"left out: {reasons}{option}")


def _add_paths(parser: argparse.ArgumentParser, metavar: str) -> None:
    kind = "a file" if metavar.startswith("FILE") else "a file or a folder, also s3:// or gs://"
    parser.add_argument("input", metavar=metavar, help=kind)
    parser.add_argument("output", metavar="OUT.parquet", help="the file to write")
    parser.add_argument(
        "--bbox",
        metavar="W,S,E,N",
        help="only places inside this box, in degrees: --bbox=7.40,43.72,7.45,43.76",
    )
    parser.add_argument(
        "--closed",
        action="store_true",
        help="also import places that are closed (default: they are left out)",
    )
    parser.set_defaults(action=_import_places)


def _import_osm(arguments: argparse.Namespace, box: "Box | None") -> "ImportSummary":
    from labelwright.entities.importers.osm import import_osm
    from labelwright.entities.importers.osm_mapping import load_mapping

    mapping = load_mapping(arguments.mapping)
    with tqdm(unit="place", unit_scale=True, disable=None, leave=False) as bar:
        return import_osm(
            arguments.input, arguments.output, mapping, box, bar.update, arguments.closed
        )


def _import_overture(arguments: argparse.Namespace, box: "Box | None") -> "ImportSummary":
    from labelwright.entities.importers.overture import import_overture

    with _Progress() as advance:
        return import_overture(
            arguments.input,
            arguments.output,
            box,
            arguments.categories,
            advance,
            arguments.closed,
        )


def _import_foursquare(arguments: argparse.Namespace, box: "Box | None") -> "ImportSummary":
    from labelwright.entities.importers.foursquare import import_foursquare

    with _Progress() as advance:
        return import_foursquare(arguments.input, arguments.output, box, advance, arguments.closed)


class _Progress:
    """Progress bar with the share of the files that was read, and the number of places."""

    def __enter__(self) -> "_Progress":
        self._rows = 0
        self._bar = tqdm(total=1.0, disable=None, leave=False, bar_format=_BAR, desc="reading")
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def __call__(self, rows: int, share: float) -> None:
        self._rows += rows
        self._bar.set_postfix_str(f"{self._rows:,} places", refresh=False)
        self._bar.update(max(share - self._bar.n, 0))


class _PrintMapping(argparse.Action):
    """Print the default mapping and exit, as `--version` does."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        from labelwright.entities.importers.osm_mapping import default_mapping

        print(default_mapping(), end="")
        parser.exit()
