"""Importer of the titles of labels: a small package."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from labelwright.entities.errors import DataError
from labelwright.entities.importers import osm_labels
from labelwright.entities.importers.osm_labels import main, read_package

PRESETS: dict[str, Any] = {
    "amenity/cafe": {"tags": {"amenity": "cafe"}},
    "amenity/restaurant": {"tags": {"amenity": "restaurant"}},
    "amenity/restaurant/pizza": {"tags": {"amenity": "restaurant", "cuisine": "pizza"}},
    "amenity/hidden": {"tags": {"amenity": "restaurant", "cuisine": "pizza"}, "searchable": False},
    "amenity": {"tags": {"amenity": "*"}},
    "highway/path": {"tags": {"highway": "path"}},
}
FIELDS: dict[str, Any] = {
    "cuisine": {"key": "cuisine", "type": "semiCombo"},
    "diet": {"key": "diet:", "type": "multiCombo"},
    "seats": {"key": "outdoor_seating", "type": "check"},
    "linked": {"key": "wheelchair", "type": "radio"},
    "speciality": {"key": "healthcare", "type": "typeCombo"},
    "height": {"key": "height", "type": "number"},
}
ENGLISH: dict[str, Any] = {
    "presets": {
        "amenity/cafe": {"name": "Cafe", "terms": ["coffee", "Cafe", "tea", "tea"]},
        "amenity/restaurant": {"name": "Restaurant"},
        "amenity/restaurant/pizza": {"name": "Pizza Restaurant", "terms": ["slice"]},
        "amenity/hidden": {"name": "Hidden"},
        "amenity": {"name": "Amenity"},
        "highway/path": {"name": "Path"},
    },
    "fields": {
        "cuisine": {"label": "Cuisine", "options": {"pizza": "Pizza", "none": {"title": ""}}},
        "diet": {"label": "Diet", "options": {"vegan": {"title": "Vegan", "description": "-"}}},
        "seats": {"label": "Outdoor Seating"},
        "linked": {"label": "{wheelchair}", "options": {"yes": "Yes"}},
        "speciality": {"label": "Type", "options": {"dentist": "Dentist"}},
        "height": {"label": "Height"},
    },
}
GERMAN = {"presets": {"amenity/cafe": {"name": "Café"}}, "fields": {}}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A tarball with the files of the package that the importer reads."""
    path = tmp_path / "package.tgz"
    files: dict[str, Any] = {
        "package.json": {"name": "@a/b", "version": "1.2.3", "license": "ISC"},
        "dist/presets.min.json": PRESETS,
        "dist/fields.min.json": FIELDS,
        "dist/translations/en.min.json": {"en": {"presets": ENGLISH}},
        "dist/translations/de.min.json": {"de": {"presets": GERMAN}},
        "dist/translations/af.min.json": {"af": {}},
        "dist/translations/index.min.json": {},
    }
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            data = json.dumps(content).encode()
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def test_presets_and_fields_become_titles_and_synonyms(package: Path) -> None:
    table = read_package(package)
    assert {row["label"]: (row["title"], row["terms"]) for row in table.to_pylist()} == {
        "amenity=cafe": ("Cafe", ["coffee", "tea"]),
        "amenity=restaurant": ("Restaurant", []),
        "cuisine=pizza": ("Cuisine: Pizza", ["Pizza Restaurant", "slice"]),
        "diet:vegan=yes": ("Diet: Vegan", []),
        "healthcare=dentist": ("Dentist", []),
        "outdoor_seating=yes": ("Outdoor Seating", []),
    }
    assert table["language"].unique().to_pylist() == ["en"]
    assert table.schema.metadata == {b"source": b"@a/b 1.2.3", b"license": b"ISC"}


def test_each_language_with_enough_titles_is_one_row_group(
    package: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(osm_labels, "LEAST_TITLES", 1)
    out = tmp_path / "out.parquet"
    main([str(package), str(out)])
    assert capsys.readouterr().out == f"{out}: 7 titles in 2 languages\n"
    file = pq.ParquetFile(out)
    groups = [file.read_row_group(n).to_pylist() for n in range(file.num_row_groups)]
    assert [{row["language"] for row in group} for group in groups] == [{"de"}, {"en"}]
    assert groups[0] == [{"language": "de", "label": "amenity=cafe", "title": "Café", "terms": []}]


def test_an_archive_of_another_package_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tgz").write_text("no archive")
    with pytest.raises(DataError, match="not a readable package"):
        read_package(tmp_path / "a.tgz")
    with pytest.raises(SystemExit):
        main([str(tmp_path / "a.tgz"), str(tmp_path / "out.parquet")])
