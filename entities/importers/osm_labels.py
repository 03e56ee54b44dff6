"""Build the titles and synonyms of OpenStreetMap's labels from an npm package.

The package is `@openstreetmap/id-tagging-schema`: the names that the editor iD gives to features,
in many languages. The title and the synonyms of a label `key=value` are those of the preset that
has only this tag. If there is no such preset, the title comes from the field of the key
("Wheelchair Access: Limited"). Some presets add a second tag to another one: a pizza restaurant has
`cuisine=pizza` in addition to `amenity=restaurant`. Their names become synonyms of the label of the
second tag. Only the keys that the default mapping uses for labels are kept.

    python -m labelwright.entities.importers.osm_labels PACKAGE.tgz OUT.parquet
"""

import argparse
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from labelwright.entities.errors import DataError
from labelwright.entities.importers.osm_mapping import load_mapping
from labelwright.entities.taxonomy import SCHEMA

LEAST_TITLES = 500
"""A language with names for fewer presets than this is left out."""
REFERENCE = "en"
"""The language in which every preset has a name."""

Json = dict[str, Any]


def read_package(path: Path) -> pa.Table:
    """Read the package into a table with `SCHEMA`, sorted by language and label.

    The name, version and licence of the package are in the metadata of the table's schema. Raises
    DataError if there is no readable archive of this package at `path`.
    """
    try:
        with tarfile.open(path) as package:
            about = _read(package, "package/package.json")
            presets = _read(package, "package/dist/presets.min.json")
            fields = _read(package, "package/dist/fields.min.json")
            translations = dict(_translations(package))
        reference = translations[REFERENCE]["presets"]
        rows = [
            {"language": language, "label": label, **entry}
            for language, texts in sorted(translations.items())
            if language == REFERENCE or len(texts["presets"]) >= LEAST_TITLES
            for label, entry in sorted(titles(presets, fields, texts, reference).items())
        ]
        source = {"source": f"{about['name']} {about['version']}", "license": about["license"]}
    except (OSError, tarfile.TarError, KeyError, ValueError, AttributeError) as error:
        raise DataError("this is not a readable package of id-tagging-schema") from error
    return pa.Table.from_pylist(rows, schema=SCHEMA.with_metadata(source))


def titles(presets: Json, fields: Json, texts: Json, reference: Json) -> dict[str, Json]:
    """The title and the synonyms in one language of each label that has a title in it.

    `texts` has the names of presets and fields in this language, and `reference` the names of
    presets in English.
    """
    found: dict[str, Json] = {}
    for field_id, field in fields.items():
        for label, title in _options(field, texts["fields"].get(field_id, {})):
            found.setdefault(label, {"title": title, "terms": []})
    for preset_id, preset in presets.items():
        translated = texts["presets"].get(preset_id, {})
        name = translated.get("name")
        if not name or preset_id not in reference:
            continue
        labels = [f"{key}={value}" for key, value in preset["tags"].items() if value != "*"]
        if len(preset["tags"]) == len(labels) == 1:
            before = found.get(labels[0], {"terms": []})
            terms = [*translated.get("terms", []), *before["terms"]]
            found[labels[0]] = {"title": name, "terms": terms}
        elif preset.get("searchable", True):
            for label in labels[1:]:
                if label in found:
                    found[label]["terms"] += [name, *translated.get("terms", [])]
    mapping = load_mapping(None)
    found = {
        label: entry for label, entry in found.items() if mapping.is_label(label.partition("=")[0])
    }
    for entry in found.values():
        entry["terms"] = [term for term in dict.fromkeys(entry["terms"]) if term != entry["title"]]
    return found


def _options(field: Json, texts: Json) -> Iterator[tuple[str, str]]:
    """The labels of a field's values, with titles like `Wheelchair Access: Limited`."""
    key, about = field.get("key", ""), texts.get("label")
    if not about or about.startswith("{"):
        return
    if field["type"] in ("check", "defaultCheck"):
        yield f"{key}=yes", about
    for value, option in texts.get("options", {}).items():
        name = option.get("title") if isinstance(option, dict) else option
        if name and field["type"] == "multiCombo" and key.endswith(":"):
            yield f"{key}{value}=yes", f"{about}: {name}"
        elif name and field["type"] == "typeCombo":
            yield f"{key}={value}", name
        elif name and field["type"] in ("combo", "semiCombo", "radio"):
            yield f"{key}={value}", f"{about}: {name}"


def _translations(package: tarfile.TarFile) -> Iterator[tuple[str, Json]]:
    """The names of presets and fields in each language."""
    folder, end = "package/dist/translations/", ".min.json"
    for member in package.getnames():
        language = member.removeprefix(folder).removesuffix(end)
        if member != f"{folder}{language}{end}" or language.startswith("index"):
            continue
        texts = _read(package, member).get(language, {}).get("presets", {})
        yield language, {part: texts.get(part, {}) for part in ("presets", "fields")}


def _read(package: tarfile.TarFile, member: str) -> Json:
    file = package.extractfile(member)
    if file is None:
        raise KeyError(f"{member} is not a file")
    content: Json = json.load(file)
    return content


def main(arguments: list[str] | None = None) -> None:
    """Command line: read a package, write the Parquet file, print the size of the result."""
    parser = argparse.ArgumentParser(
        prog="python -m labelwright.entities.importers.osm_labels",
        description="Build the titles of OpenStreetMap's labels from id-tagging-schema.",
    )
    parser.add_argument("package", type=Path, metavar="PACKAGE.tgz")
    parser.add_argument("out", type=Path, metavar="OUT.parquet")
    given = parser.parse_args(arguments)
    try:
        table = read_package(given.package)
    except DataError as error:
        parser.error(f"{given.package}: {error}")
    write(table, given.out)
    languages = len(table["language"].unique())
    print(f"{given.out}: {len(table):,} titles in {languages} languages")


def write(table: pa.Table, out: Path) -> None:
    """Write a table with one row group for each language, so that each can be read alone."""
    with pq.ParquetWriter(out, table.schema, compression="zstd", compression_level=19) as writer:
        for language in table["language"].unique().to_pylist():
            writer.write_table(table.filter(pc.equal(table["language"], language)))


if __name__ == "__main__":
    main()
