"""Turn data as others publish it into a Parquet file that `labelwright train --data` takes.

What is known of the labels (which of them imply others, which groups are an open world) is stated
in the file, and `train` reads it there. CSV, JSON Lines and GeoJSON need no import: every command
reads them, with --map where columns are called otherwise.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

if TYPE_CHECKING:
    from labelwright.entities.geometry import Box
    from labelwright.entities.importers.places_file import ImportSummary

_BAR = "{desc} {percentage:3.0f}% |{bar}| {postfix} {elapsed}"


def configure(parser: argparse.ArgumentParser) -> None:
    """State the options."""
    sources = parser.add_subparsers(title="sources", metavar="SOURCE", required=True)
    osm = sources.add_parser(
        "osm",
        help="places of an OpenStreetMap extract (.osm.pbf)",
        description="Import the named places of an OpenStreetMap extract: nodes, ways and areas, "
        "by their centre. A mapping file says which tags are labels and which are columns.",
    )
    _add_paths(osm, "FILE.osm.pbf")
    osm.add_argument(
        "--mapping", type=Path, metavar="FILE", help="another mapping than the default"
    )
    osm.add_argument(
        "--print-mapping", action=_PrintMapping, nargs=0, help="print the default mapping and exit"
    )
    osm.set_defaults(source=_import_osm)
    overture = sources.add_parser(
        "overture",
        help="places of Overture Maps (GeoParquet)",
        description="Import Overture Maps' theme `places`. Categories become labels, and those "
        "above them are implied.",
    )
    _add_paths(overture, "PATH")
    overture.add_argument(
        "--categories",
        type=Path,
        metavar="FILE",
        help="overture_categories.csv, for releases whose files lack the column taxonomy",
    )
    overture.set_defaults(source=_import_overture)
    foursquare = sources.add_parser(
        "foursquare",
        help="Foursquare's Open Source Places (Parquet)",
        description="Import Foursquare's Open Source Places. Categories become labels, and those "
        "above them are implied.",
    )
    _add_paths(foursquare, "PATH")
    foursquare.set_defaults(source=_import_foursquare)


def run(given: argparse.Namespace) -> None:
    """Import and say how much that was."""
    from labelwright.entities.geometry import Box

    box = Box.parse(given.bbox) if given.bbox else None
    imported: ImportSummary = given.source(given, box)
    print(f"{imported.places:,} places, {imported.labelled:,} of them labelled -> {given.output}")
    print(
        f"{len(imported.labels):,} labels, {len(imported.implies):,} of them imply others; "
        f"{len(imported.open_world):,} groups are of an open world"
    )


def _add_paths(parser: argparse.ArgumentParser, source: str) -> None:
    where = "a file" if source.startswith("FILE") else "a file or a folder, also s3:// or gs://"
    parser.add_argument("input", metavar=source, help=where)
    parser.add_argument("output", metavar="OUT.parquet")
    parser.add_argument(
        "--bbox",
        metavar="W,S,E,N",
        help="only places in this box, in degrees: --bbox=7.40,43.72,7.45,43.76",
    )


def _import_osm(given: argparse.Namespace, box: "Box | None") -> "ImportSummary":
    from labelwright.entities.importers.osm import import_osm
    from labelwright.entities.importers.osm_mapping import load_mapping

    mapping = load_mapping(given.mapping)
    with tqdm(unit="place", unit_scale=True, disable=None, leave=False) as bar:
        return import_osm(given.input, given.output, mapping, box, bar.update)


def _import_overture(given: argparse.Namespace, box: "Box | None") -> "ImportSummary":
    from labelwright.entities.importers.overture import import_overture

    with _Progress() as advance:
        return import_overture(given.input, given.output, box, given.categories, advance)


def _import_foursquare(given: argparse.Namespace, box: "Box | None") -> "ImportSummary":
    from labelwright.entities.importers.foursquare import import_foursquare

    with _Progress() as advance:
        return import_foursquare(given.input, given.output, box, advance)


class _Progress:
    """How much of the files has been read, and how many places have been found."""

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
    """Print the default mapping, like `--version` prints a version."""

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
