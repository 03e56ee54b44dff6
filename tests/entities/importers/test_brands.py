"""Importer of brands: small packages, and the embedded demo data set."""

import io
import json
import re
import tarfile
from collections import Counter
from collections.abc import Callable
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelwright.entities.errors import DataError
from labelwright.entities.importers import brands

COMMITTED = Path(brands.__file__).parents[1] / "data" / "brands.parquet"

Rows = dict[str, dict[str, Any]]
Trees = dict[str, list[dict[str, Any]]]
Build = Callable[..., Rows]


def item(wikidata: str, name: str, path: str, **more: Any) -> dict[str, Any]:
    """An entry of the package; the `tags` in `more` are added to the tags of the path and name."""
    tree, key, value = path.split("/")
    main = tree.removesuffix("s")
    tags = {key: value, main: name, f"{main}:wikidata": wikidata}
    if tree == "brands":
        tags["name"] = name
    tags |= more.pop("tags", {})
    entry: dict[str, Any] = {"displayName": name, "locationSet": {"include": ["001"]}}
    return entry | more | {"tags": tags}


def write_package(path: Path, trees: Trees, wikidata: dict[str, Any] | None = None) -> Path:
    """Write a tarball with the three files of the package that the importer reads."""
    files: dict[str, Any] = {
        "package.json": {
            "name": "name-suggestion-index",
            "version": "8.0.1",
            "license": "BSD-3-Clause",
        },
        "dist/json/nsi.min.json": {"nsi": {path: {"items": trees[path]} for path in trees}},
        "dist/wikidata/wikidata.min.json": {"wikidata": wikidata or {}},
    }
    with tarfile.open(path, "w:gz") as package:
        for name, content in files.items():
            data = json.dumps(content).encode()
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(data)
            package.addfile(member, io.BytesIO(data))
    return path


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """A function that writes a package of some trees, imports it, and returns the rows by id."""

    def build(
        trees: Trees,
        wikidata: dict[str, Any] | None = None,
        minimum: int = 1,
        cap: int = brands.SCHOOL_CAP,
    ) -> Rows:
        package = write_package(tmp_path / "package.tgz", trees, wikidata)
        rows = brands.read_package(package, minimum, cap).to_pylist()
        return {row["id"]: row for row in rows}

    return build


def test_entries_with_the_same_wikidata_id_become_one_entity(build: Build) -> None:
    rows = build(
        {
            "operators/power/plant": [
                item("Q1", "Acme Group", "operators/power/plant", locationSet={"include": ["fr"]})
            ],
            "brands/amenity/fuel": [
                item("Q1", "Acme", "brands/amenity/fuel", locationSet={"include": ["de", "fx"]}),
                item("Q2", "Zeta", "brands/amenity/fuel"),
            ],
        }
    )
    assert rows["Q1"] == {
        "id": "Q1",
        "name": "Acme",
        "alternative_names": "Acme Group",
        "country": "DE;FR",
        "website": None,
        "labels": ["amenity=fuel", "power=plant"],
    }
    assert rows["Q2"]["labels"] == ["amenity=fuel"]


def test_an_operator_with_another_id_is_not_merged_and_gives_no_name(build: Build) -> None:
    tags = {"operator": "Holding", "operator:wikidata": "Q9"}
    path = "brands/amenity/cafe"
    rows = build({path: [item("Q1", "Acme", path, tags=tags)]})
    assert list(rows) == ["Q1"]
    assert rows["Q1"]["alternative_names"] is None


def test_an_operator_with_the_same_id_gives_a_name(build: Build) -> None:
    tags = {"operator": "Acme Limited", "operator:wikidata": "Q1"}
    path = "brands/amenity/cafe"
    rows = build({path: [item("Q1", "Acme", path, tags=tags)]})
    assert rows["Q1"]["alternative_names"] == "Acme Limited"


def test_other_trees_and_entries_without_an_id_are_left_out(build: Build) -> None:
    nameless = item("Q3", "Anon", "brands/amenity/cafe")
    del nameless["tags"]["brand:wikidata"]
    rows = build(
        {
            "brands/amenity/cafe": [item("Q1", "Acme", "brands/amenity/cafe"), nameless],
            "transit/route/bus": [item("Q2", "Bus", "transit/route/bus")],
            "flags/man_made/flagpole": [item("Q4", "Flag", "flags/man_made/flagpole")],
        }
    )
    assert list(rows) == ["Q1"]


def test_a_tag_with_several_values_gives_several_labels(build: Build) -> None:
    path = "brands/shop/clothes"
    tags = {"clothes": "women; men;;children"}
    rows = build({path: [item("Q1", "Acme", path, tags=tags), item("Q2", "Zeta", path)]})
    assert rows["Q1"]["labels"] == [
        "clothes=children",
        "clothes=men",
        "clothes=women",
        "shop=clothes",
    ]


def test_entries_made_from_a_template_are_left_out(build: Build) -> None:
    bank, machine = "brands/amenity/bank", "brands/amenity/atm"
    rows = build(
        {
            bank: [item("Q1", "Bank", bank)],
            machine: [
                item("Q1", "Bank", machine, fromTemplate=True),
                item("Q2", "Cash Machines", machine),
            ],
        }
    )
    assert rows["Q1"]["labels"] == ["amenity=bank"]
    assert rows["Q2"]["labels"] == ["amenity=atm"]


def test_identity_tags_are_never_labels(build: Build) -> None:
    identity = {
        "operator:type": "government",
        "brand:wikipedia": "en:Acme",
        "network": "AcmeNet",
        "network:wikidata": "Q7",
        "ref:vatin": "390528502",
        "coffee:brand": "Meama",
        "short_name:en": "AC",
        "website": "https://acme.example",
        "internet_access:ssid": "acme",
        "fuel:discount": "Woolworths",
    }
    path = "brands/shop/bakery"
    acme = item("Q1", "Acme", path, tags=identity | {"takeaway": "yes"})
    rows = build({path: [acme, item("Q2", "Zeta", path)]})
    assert rows["Q1"]["labels"] == ["shop=bakery", "takeaway=yes"]


def test_the_main_name_is_the_one_that_most_entries_mention(build: Build) -> None:
    path = "brands/amenity/cafe"
    local = {"name": "星巴克", "brand": "星巴克", "name:en": "Starbucks"}
    rows = build(
        {
            path: [
                item("Q1", "星巴克", path, tags=local),
                item("Q1", "星巴克", path, tags=local),
                item("Q1", "Starbucks", path),
            ]
        }
    )
    assert rows["Q1"]["name"] == "Starbucks"
    assert rows["Q1"]["alternative_names"] == "星巴克"


def test_a_brand_name_wins_over_an_equally_frequent_operator_name(build: Build) -> None:
    plant, point = "operators/power/plant", "brands/amenity/charging_station"
    nameless = item("Q1", "Acme Power", point)
    del nameless["tags"]["name"]
    rows = build({plant: [item("Q1", "Acme Limited", plant)], point: [nameless]})
    assert rows["Q1"]["name"] == "Acme Power"


def test_alternative_names_are_all_other_spellings_each_once(build: Build) -> None:
    path = "brands/amenity/bank"
    tags = {
        "alt_name": "First;One",
        "official_name:en": "First Bank, Inc.",
        "brand:zh-Hant": "第一銀行",
        "brand:short": "FB",
        "name:signed": "no",
        "name:pronunciation": "first",
    }
    entry = item("Q1", "First Bank", path, tags=tags, matchNames=["first bank", "fb;1st bank"])
    entry["displayName"] = "First Bank (USA)"
    rows = build({path: [entry]})
    names = rows["Q1"]["alternative_names"].split(";")
    assert sorted(names) == sorted(
        ["First", "One", "First Bank, Inc.", "第一銀行", "FB", "1st bank"]
    )


@pytest.mark.parametrize(
    ("include", "country"),
    [
        (["us"], "US"),
        (["us", "at", "ca"], "AT;CA;US"),
        (["fr", "fx"], "FR"),
        (["fx", "el"], "FR;GR"),
        (["001"], None),
        (["001", "us"], None),
        (["150", "conus", [8.7, 53.1]], None),
        (["us-tx.geojson", "gb-eng", "mx"], "GB;MX;US"),
        (["zz"], None),
    ],
)
def test_areas_of_an_entry_become_countries(
    build: Build, include: list[object], country: str | None
) -> None:
    path = "brands/amenity/cafe"
    rows = build({path: [item("Q1", "Acme", path, locationSet={"include": include})]})
    assert rows["Q1"]["country"] == country


@pytest.mark.parametrize(
    ("facts", "website"),
    [
        ({}, None),
        ({"officialWebsites": []}, None),
        ({"officialWebsites": ["https://www.Acme.example/us/?a=b"]}, "acme.example"),
        ({"officialWebsites": ["https://acme.example./"]}, "acme.example"),
        (
            {
                "identities": {"website": "http://acme.example:80/", "facebook": "acme"},
                "officialWebsites": ["https://old.example"],
            },
            "acme.example",
        ),
        (
            {"officialWebsites": ["http://[broken", "https://shop.acme.example"]},
            "shop.acme.example",
        ),
        ({"locationInfoWebsites": ["https://find.acme.example/"]}, "find.acme.example"),
    ],
)
def test_the_website_is_the_domain_of_the_first_valid_url(
    build: Build, facts: dict[str, Any], website: str | None
) -> None:
    path = "brands/amenity/cafe"
    rows = build({path: [item("Q1", "Acme", path)]}, {"Q1": facts})
    assert rows["Q1"]["website"] == website


def test_descriptions_of_wikidata_are_not_in_the_table(build: Build) -> None:
    path = "brands/amenity/cafe"
    facts = {"Q1": {"label": "ACME", "description": "German coffee chain"}}
    rows = build({path: [item("Q1", "Acme", path)]}, facts)
    assert "coffee" not in str(rows)


def test_of_duplicate_labels_the_one_with_the_more_frequent_key_is_kept(build: Build) -> None:
    doctor, pharmacy, cafe = (
        "brands/amenity/doctors",
        "brands/amenity/pharmacy",
        "brands/amenity/cafe",
    )
    duplicate = {"healthcare": "doctor"}
    rows = build(
        {
            doctor: [item(f"Q{n}", f"Dr. {n}", doctor, tags=duplicate) for n in range(5)],
            pharmacy: [item(f"Q1{n}", f"Apo {n}", pharmacy) for n in range(3)],
            # All cafés have takeaway, but bakeries have it too: takeaway is implied, no duplicate.
            cafe: [item(f"Q2{n}", f"Café {n}", cafe, tags={"takeaway": "yes"}) for n in range(3)],
            "brands/shop/bakery": [
                item(f"Q3{n}", f"Bread {n}", "brands/shop/bakery", tags={"takeaway": "yes"})
                for n in range(3)
            ],
        }
    )
    assert rows["Q1"]["labels"] == ["amenity=doctors"]
    assert rows["Q20"]["labels"] == ["amenity=cafe", "takeaway=yes"]


def test_duplicate_labels_have_enough_examples_and_different_keys() -> None:
    bank = {"amenity=bank"}
    twice = [{"amenity=dentist", "healthcare=dentist"}] * 19
    assert brands.duplicate_labels([bank, *twice], minimum=20) == set()
    assert brands.duplicate_labels([bank, *twice, twice[0]], minimum=20) == {"healthcare=dentist"}
    assert brands.duplicate_labels([{"power=line", "power=pole"}] * 20, minimum=20) == set()


def test_labels_are_duplicates_if_enough_of_their_entities_have_both() -> None:
    both = [{"amenity=clinic", "healthcare=clinic"}] * 18
    assert brands.duplicate_labels([*both, *[{"amenity=clinic"}] * 2], minimum=1) == {
        "healthcare=clinic"
    }
    assert brands.duplicate_labels([*both, *[{"amenity=clinic"}] * 3], minimum=1) == set()


def test_schools_are_capped_by_a_hash_of_the_id(build: Build) -> None:
    path = "operators/amenity/school"
    schools = [item(f"Q{n}", f"District {n}", path) for n in range(40)]
    kept = build({path: schools}, cap=10).keys()
    assert len(kept) == 10
    assert kept != {f"Q{n}" for n in range(10)}
    assert build({path: schools[::-1]}, cap=10).keys() == kept
    assert kept < build({path: schools}, cap=11).keys()


def test_entities_with_other_labels_than_school_are_kept_first(build: Build) -> None:
    school, park = "operators/amenity/school", "operators/leisure/park"
    trees = {school: [item(f"Q{n}", f"District {n}", school) for n in range(40)]}
    spare = min({f"Q{n}" for n in range(40)} - build(trees, cap=10).keys())
    rows = build(trees | {park: [item(spare, "City", park)]}, cap=10)
    assert len(rows) == 10
    assert rows[spare]["labels"] == ["amenity=school", "leisure=park"]


def test_entities_without_a_school_label_are_not_capped(build: Build) -> None:
    path = "brands/amenity/bank"
    rows = build({path: [item(f"Q{n}", f"Bank {n}", path) for n in range(12)]}, cap=10)
    assert len(rows) == 12


def test_rare_labels_and_entities_without_labels_are_dropped(build: Build) -> None:
    path, rare = "brands/amenity/bank", "brands/shop/tea"
    trees = {
        path: [item(f"Q{n}", f"Bank {n}", path) for n in range(3)],
        rare: [item("Q0", "Bank 0", rare), item("Q9", "Tea", rare)],
    }
    rows = build(trees, minimum=3)
    assert rows.keys() == {"Q0", "Q1", "Q2"}
    assert rows["Q0"]["labels"] == ["amenity=bank"]


def test_labels_have_enough_examples_after_the_cap(build: Build) -> None:
    path = "operators/amenity/school"
    trees = {path: [item(f"Q{n}", f"District {n}", path) for n in range(6)]}
    assert len(build(trees, minimum=3, cap=3)) == 3
    assert build(trees, minimum=4, cap=3) == {}


def test_the_command_writes_the_same_bytes_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = "brands/shop/clothes"
    tags = {"clothes": "women;men;children"}
    entries = [item(f"Q{n}", f"Shop {n}", path, tags=tags) for n in range(25)]
    entries += [item(f"Q{n}", f"Shop {n}", path) for n in range(25, 30)]
    package = write_package(tmp_path / "package.tgz", {path: entries})
    turned = write_package(tmp_path / "turned.tgz", {path: entries[::-1]})
    for source, out in ((package, "a"), (package, "b"), (turned, "c")):
        brands.main([str(source), str(tmp_path / out)])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes() == (tmp_path / "c").read_bytes()
    assert "30 entities, 4 labels" in capsys.readouterr().out
    metadata = pq.read_schema(tmp_path / "a").metadata
    assert metadata == {b"source": b"name-suggestion-index 8.0.1", b"license": b"BSD-3-Clause"}
    assert pq.ParquetFile(tmp_path / "a").metadata.row_group(0).column(0).compression == "ZSTD"


def test_an_archive_of_another_package_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "package.tgz"
    text.write_text("not an archive")
    empty = tmp_path / "empty.tgz"
    with tarfile.open(empty, "w:gz"):
        pass
    for path in (text, empty, tmp_path / "absent.tgz"):
        with pytest.raises(DataError):
            brands.read_package(path)
    with pytest.raises(SystemExit) as stop:
        brands.main([str(text), str(tmp_path / "out.parquet")])
    assert stop.value.code == 2
    assert "not a readable package" in capsys.readouterr().err
    assert not (tmp_path / "out.parquet").exists()


@pytest.fixture(scope="module")
def committed() -> pa.Table:
    """The embedded demo data set."""
    return pq.read_table(COMMITTED)


@pytest.fixture(scope="module")
def label_sets(committed: pa.Table) -> list[list[str]]:
    """The labels of each row of the demo data set."""
    return [list(labels) for labels in committed["labels"].to_pylist()]


def test_the_embedded_data_has_the_expected_columns_and_source(committed: pa.Table) -> None:
    assert committed.schema.equals(brands.SCHEMA)
    assert committed.schema.metadata[b"source"] == b"name-suggestion-index 8.0.20260918"
    assert COMMITTED.stat().st_size < 3_000_000
    for name in ("id", "name", "labels"):
        assert committed[name].null_count == 0
    for name, least in (("country", 0.9), ("website", 0.8), ("alternative_names", 0.4)):
        assert 1 - committed[name].null_count / committed.num_rows > least


def test_committed_ids_are_sorted_and_unique(committed: pa.Table) -> None:
    ids = committed["id"].to_pylist()
    assert all(re.fullmatch(r"Q[1-9]\d*", wikidata) for wikidata in ids)
    assert all(before < after for before, after in pairwise(ids))
    assert 20_000 < len(ids) < 26_000


def test_committed_labels_have_enough_examples(label_sets: list[list[str]]) -> None:
    frequency = Counter(label for labels in label_sets for label in labels)
    assert 170 < len(frequency) < 200
    assert min(frequency.values()) >= brands.MINIMUM_EXAMPLES
    assert all(labels and labels == sorted(set(labels)) for labels in label_sets)
    assert max(frequency[label] for label in brands.SCHOOL_LABELS) == brands.SCHOOL_CAP


def test_committed_labels_do_not_identify_an_entity(
    committed: pa.Table, label_sets: list[list[str]]
) -> None:
    # Values of categories are lower-case English words; names of companies are not.
    category = re.compile(r"[a-z_]+(:[a-z_]+)*=[a-z]+([_-][a-z]+)*")
    identity = re.compile(r"brand|operator|owner|network|name|wiki|website|ref\b|flag|phone:|email")
    names_of: dict[str, set[str]] = {}
    for name, labels in zip(committed["name"].to_pylist(), label_sets, strict=True):
        for label in labels:
            names_of.setdefault(label, set()).add(name)
    for label, names in names_of.items():
        assert category.fullmatch(label)
        assert not identity.search(label.partition("=")[0])
        assert len(names) >= 15, f"only few names have {label}"


def test_committed_columns_contain_no_labels(
    committed: pa.Table, label_sets: list[list[str]]
) -> None:
    keys = "|".join(
        {re.escape(label.partition("=")[0]) for labels in label_sets for label in labels}
    )
    tag = re.compile(rf"\b({keys})=")
    for name in ("name", "alternative_names", "country", "website"):
        assert not [value for value in committed[name].to_pylist() if value and tag.search(value)]


def test_committed_labels_have_no_duplicates(label_sets: list[list[str]]) -> None:
    frequency = Counter(label for labels in label_sets for label in labels)
    for value in ("pharmacy", "dentist", "clinic", "hospital"):
        assert f"amenity={value}" in frequency
        assert f"healthcare={value}" not in frequency
    together = Counter(pair for labels in label_sets for pair in combinations(labels, 2))
    duplicates = [
        (one, other)
        for (one, other), count in together.items()
        if count >= brands.DUPLICATE_SHARE * max(frequency[one], frequency[other])
    ]
    assert duplicates == []


def test_committed_names_countries_and_websites_are_clean(committed: pa.Table) -> None:
    for row in committed.select(["name", "alternative_names", "country", "website"]).to_pylist():
        assert row["name"] == row["name"].strip() != ""
        if row["alternative_names"] is not None:
            folded = [name.casefold() for name in row["alternative_names"].split(";")]
            assert "" not in folded
            assert len({*folded, row["name"].casefold()}) == len(folded) + 1
        if row["country"] is not None:
            codes = row["country"].split(";")
            assert codes == sorted(set(codes))
            assert brands.COUNTRIES.issuperset(codes)
        if row["website"] is not None:
            assert re.fullmatch(r"[^\s/:@]+\.[^\s/:@.]+", row["website"])
            assert not row["website"].startswith("www.")


def test_well_known_brands_have_the_expected_names_and_labels(committed: pa.Table) -> None:
    rows = {row["id"]: row for row in committed.to_pylist()}
    assert rows["Q38076"]["name"] == "McDonald's"
    assert {"amenity=fast_food", "cuisine=burger"} <= set(rows["Q38076"]["labels"])
    assert rows["Q37158"]["name"] == "Starbucks"
    assert rows["Q37158"]["website"] == "starbucks.com"


def test_countries_are_the_codes_of_iso_3166() -> None:
    assert len(brands.COUNTRIES) == 250
    assert {"AF", "ZW", "US", "TR", "XK", "QA", "OM"} <= brands.COUNTRIES
    assert brands.COUNTRIES.isdisjoint(brands.COUNTRY_ALIASES)
