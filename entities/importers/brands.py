"""Build the embedded demo data set of brands and operators from an npm package.

The package `name-suggestion-index` has the names of chains, their countries, and the
OpenStreetMap tags of their places. An entity is one Wikidata item. All entries of the package with
the id of this item are merged, and the labels of the entity are their tags, written `key=value`.
Tags that identify an entity, such as `brand`, are never labels. Wikidata's descriptions ("German
supermarket chain") are left out, because they would reveal the labels.

    python -m labelwright.entities.importers.brands PACKAGE.tgz OUT.parquet
"""

import argparse
import hashlib
import itertools
import json
import re
import tarfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from labelwright.entities.errors import DataError

MINIMUM_EXAMPLES = 20
"""A label is kept if at least this many entities have it."""

DUPLICATE_SHARE = 0.9
"""Two labels are duplicates if at least this share of the entities of each label have both."""

SCHOOL_CAP = 3000
"""The largest number of entities with one of the `SCHOOL_LABELS`; most are school districts."""

SCHOOL_LABELS = (
    "amenity=school",
    "amenity=kindergarten",
    "amenity=college",
    "amenity=university",
)

IDENTITY_PARTS = frozenset(
    {
        "brand",
        "operator",
        "owner",
        "network",
        "brewery",
        "money_transfer",
        "flag",
        "subject",
        "colour",
        "not",
        "discount",
        "website",
        "contact",
        "url",
        "email",
        "phone",
        "ssid",
        "ref",
        "bic",
        "nsi",
        "wikidata",
        "wikipedia",
    }
)
"""Parts of keys, such as `brand` in `coffee:brand`, by which a tag identifies an entity.

A key is split at its colons. If one part is in this set or ends in `name` (`short_name`), then the
tag identifies an entity and does not describe it.
"""

MAIN_KEYS = {"brands": "brand", "operators": "operator"}
"""The trees of the package that are read; for each tree, the key of the tag with the name."""

COUNTRY_ALIASES = {"FX": "FR", "IC": "ES", "EL": "GR", "UK": "GB", "KV": "XK"}
"""A map from codes of the package that are not in ISO 3166-1 to the codes that replace them."""

COUNTRY_LETTERS = (
    "ADEFGILMOQRSTUWXZ BABDEFGHIJLMNOQRSTVWYZ CACDFGHIKLMNORUVWXYZ DEJKMOZ ECEGHRST FIJKMOR "
    "GABDEFGHILMNPQRSTUWY HKMNRTU IDELMNOQRST JEMOP KEGHIMNPRWYZ LABCIKRSTUVY "
    "MACDEFGHKLMNOPQRSTUVWXYZ NACEFGILOPRUZ OM PAEFGHKLMNRSTWY QA REOSUW "
    "SABCDEGHIJKLMNORSTVXYZ TCDFGHJKLMNORTVWZ UAGMSYZ VACEGINU WFS XK YET ZAMW"
)
COUNTRIES = frozenset(
    group[0] + second for group in COUNTRY_LETTERS.split() for second in group[1:]
)
"""The country codes of ISO 3166-1 alpha-2, and XK for Kosovo.

Each group of `COUNTRY_LETTERS` is a first letter and all second letters that follow it in a code.
"""

WORLDWIDE = "001"

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("alternative_names", pa.string()),
        pa.field("country", pa.string()),
        pa.field("website", pa.string()),
        pa.field(
            "labels",
            pa.list_(pa.field("element", pa.string(), nullable=False)),
            nullable=False,
        ),
    ]
)

_LANGUAGE = r"(:[a-z]{2,3}(-[\w-]+)?)?"
_NAME_KEY = re.compile(rf"(\w+_)?name{_LANGUAGE}")
_DISAMBIGUATION = re.compile(r"\s*\([^()]*\)$")


class Item(TypedDict):
    """One entry of the package: a brand or operator in an area, with the tags of its places."""

    displayName: str
    locationSet: dict[str, list[object]]
    tags: dict[str, str]
    matchNames: NotRequired[list[str]]
    fromTemplate: NotRequired[bool]


@dataclass(slots=True)
class Entity:
    """The merged entries of one Wikidata id.

    For each name, `main_name_counts` counts the tags with this name as a main name, and
    `entry_counts` counts the entries that contain this name, for example as a translation.
    """

    main_name_counts: Counter[str] = field(default_factory=Counter)
    entry_counts: Counter[str] = field(default_factory=Counter)
    countries: set[str] = field(default_factory=set)
    worldwide: bool = False
    labels: set[str] = field(default_factory=set)

    def add(self, tree: str, item: Item) -> None:
        """Merge one entry of a tree of the package into this entity."""
        tags = item["tags"]
        self.main_name_counts.update(_main_names(tree, tags))
        self.entry_counts.update(dict.fromkeys(_names(tree, item)).keys())
        included = [str(place).upper() for place in item["locationSet"].get("include", [])]
        self.worldwide |= WORLDWIDE in included
        # Parts of a country have codes that begin with the country: gb-eng, us-tx.geojson.
        codes = {place.split("-")[0] for place in included}
        self.countries |= {COUNTRY_ALIASES.get(code, code) for code in codes} & COUNTRIES
        self.labels |= labels_of(tags)

    @property
    def name(self) -> str:
        """The main name that occurs in the most entries.

        If no entry has a main name, all other names are considered. Translations count too. An
        entry with the main name `星巴克` also contains `Starbucks`. The entity is therefore named
        Starbucks, even if this is the main name of fewer entries.
        """
        return max(
            self.main_name_counts or self.entry_counts,
            key=lambda name: (self.entry_counts[name], self.main_name_counts[name]),
        )

    @property
    def alternative_names(self) -> str | None:
        """All other names, joined by `;`; None if there are none.

        Of names that differ only in case, the first is kept.
        """
        spellings: dict[str, str] = {}
        for name in self.entry_counts:
            spellings.setdefault(name.casefold(), name)
        spellings.pop(self.name.casefold(), None)
        return ";".join(spellings.values()) or None

    @property
    def country(self) -> str | None:
        """The countries joined by `;`; None for a worldwide entity or if no country is known."""
        return None if self.worldwide else ";".join(sorted(self.countries)) or None


def is_identity(key: str) -> bool:
    """Whether tags with this key identify an entity; such tags are never labels."""
    return any(part in IDENTITY_PARTS or part.endswith("name") for part in key.split(":"))


def labels_of(tags: Mapping[str, str]) -> set[str]:
    """The labels `key=value` of an entry's tags; a tag with the value `women;men` gives two."""
    return {
        f"{key}={value.strip()}"
        for key, values in tags.items()
        if not is_identity(key)
        for value in values.split(";")
        if value.strip()
    }


def domain(url: str) -> str | None:
    """The host of a URL without `www.`; None if it has no host."""
    try:
        host = urlsplit(url).hostname
    except ValueError:
        return None
    return (host or "").removeprefix("www.").removesuffix(".") or None


def _main_names(tree: str, tags: Mapping[str, str]) -> list[str]:
    # `name` on a place of an operator is often the place's own name ("ESI Hospital").
    keys = ["name", "brand"] if tree == "brands" else ["operator"]
    return [tags[key].strip() for key in keys if tags.get(key, "").strip()]


def _names(tree: str, item: Item) -> list[str]:
    tags = item["tags"]
    wikidata = tags[f"{MAIN_KEYS[tree]}:wikidata"]
    # A brand and the company that operates its places are two entities unless they share an id.
    own = "|".join(key for key in MAIN_KEYS.values() if tags.get(f"{key}:wikidata") == wikidata)
    own_key = re.compile(rf"({own})(:(short|official|abbr))?{_LANGUAGE}")
    names = [tags[key] for key in tags if _NAME_KEY.fullmatch(key) or own_key.fullmatch(key)]
    # The package adds "(Tanzania)" to "Vodacom" to distinguish two entries; this suffix is removed.
    display_name = item["displayName"].strip()
    names += [*item.get("matchNames", []), _DISAMBIGUATION.sub("", display_name) or display_name]
    return [part.strip() for name in names for part in name.split(";") if part.strip()]


def merge(trees: Mapping[str, Mapping[str, Any]]) -> dict[str, Entity]:
    """Merge the brands and operators of `nsi.json` into one entity for each Wikidata id.

    `trees` maps paths such as `brands/amenity/cafe` to their entries. Entries that the package made
    from a template are left out, because they repeat another entry: an ATM for every bank, a totem
    for every petrol station, a pole for every power line.
    """
    entities: defaultdict[str, Entity] = defaultdict(Entity)
    # Brands come first: of two equally frequent names, the first one becomes the entity's name.
    for path in sorted(trees):
        tree = path.split("/")[0]
        if tree not in MAIN_KEYS:
            continue
        items: list[Item] = trees[path]["items"]
        for item in items:
            wikidata = item["tags"].get(f"{MAIN_KEYS[tree]}:wikidata")
            if wikidata and not item.get("fromTemplate", False):
                entities[wikidata].add(tree, item)
    return dict(entities)


def duplicate_labels(label_sets: Iterable[set[str]], minimum: int = MINIMUM_EXAMPLES) -> set[str]:
    """The labels to drop because another key states the same fact.

    OpenStreetMap has two keys for some facts. The values can be equal (`amenity=dentist` and
    `healthcare=dentist`) or differ (`amenity=doctors` and `healthcare=doctor`). With both labels,
    one correct prediction would count twice. Two labels of different keys are duplicates if at
    least `DUPLICATE_SHARE` of the entities of each label have both. The less frequent label is
    dropped. If the labels are equally frequent, the label with the less frequent key is dropped.

    Labels with fewer than `minimum` entities are not compared. A label that implies another one is
    not a duplicate: nearly all entities with `cuisine=donut` have `takeaway=yes`, but not the other
    way round.
    """
    sets = list(label_sets)
    frequency = Counter(itertools.chain.from_iterable(sets))
    keys = Counter(label.partition("=")[0] for label in itertools.chain.from_iterable(sets))
    together = Counter(
        pair
        for labels in sets
        for pair in itertools.combinations(sorted(x for x in labels if frequency[x] >= minimum), 2)
    )

    def rank(label: str) -> tuple[int, int, str]:
        return frequency[label], keys[label.partition("=")[0]], label

    return {
        min(pair, key=rank)
        for pair, count in together.items()
        if pair[0].partition("=")[0] != pair[1].partition("=")[0]
        and count >= DUPLICATE_SHARE * max(frequency[label] for label in pair)
    }


def cap_schools(labels: Mapping[str, set[str]], cap: int = SCHOOL_CAP) -> dict[str, set[str]]:
    """Keep at most `cap` entities with each school label; returns a map from ids to labels.

    Entities that also have other labels are kept first. The rest is sampled by a hash of the id, so
    every run keeps the same entities.
    """
    kept = dict(labels)
    for school in SCHOOL_LABELS:
        holders = sorted(
            (wikidata for wikidata in kept if school in kept[wikidata]),
            key=lambda wikidata: (
                kept[wikidata].issubset(SCHOOL_LABELS),
                hashlib.sha256(wikidata.encode()).digest(),
            ),
        )
        for wikidata in holders[cap:]:
            del kept[wikidata]
    return kept


def choose_labels(
    labels: Mapping[str, set[str]], minimum: int = MINIMUM_EXAMPLES, cap: int = SCHOOL_CAP
) -> dict[str, set[str]]:
    """Choose the entities and labels of the data set; returns a map from ids to labels.

    Duplicate labels are dropped first, then entities with a school label beyond `cap`, then labels
    with fewer than `minimum` entities. Entities that have no label left are dropped.
    """
    duplicates = duplicate_labels(labels.values(), minimum)
    capped = cap_schools({wikidata: own - duplicates for wikidata, own in labels.items()}, cap)
    frequency = Counter(itertools.chain.from_iterable(capped.values()))
    frequent = {label for label, count in frequency.items() if count >= minimum}
    return {wikidata: own & frequent for wikidata, own in capped.items() if own & frequent}


def website(facts: Mapping[str, Any]) -> str | None:
    """The domain of a Wikidata item's website; None if no website has a valid URL.

    The preferred official website comes first, then other official websites, then all others.
    """
    preferred = facts.get("identities", {}).get("website")
    urls = [preferred, *facts.get("officialWebsites", []), *facts.get("locationInfoWebsites", [])]
    return next(filter(None, (domain(url) for url in urls if url)), None)


def table_of(
    entities: Mapping[str, Entity],
    labels: Mapping[str, set[str]],
    wikidata: Mapping[str, Mapping[str, Any]],
) -> pa.Table:
    """Build a table with `SCHEMA` of the entities that `labels` contains, sorted by id."""
    ids = sorted(labels)
    return pa.table(
        {
            "id": ids,
            "name": [entities[key].name for key in ids],
            "alternative_names": [entities[key].alternative_names for key in ids],
            "country": [entities[key].country for key in ids],
            "website": [website(wikidata.get(key, {})) for key in ids],
            "labels": [sorted(labels[key]) for key in ids],
        },
        schema=SCHEMA,
    )


def read_package(path: Path, minimum: int = MINIMUM_EXAMPLES, cap: int = SCHOOL_CAP) -> pa.Table:
    """Read the npm package `name-suggestion-index` into a table with `SCHEMA`.

    The name, version and licence of the package are in the metadata of the table's schema. Raises
    `DataError` if there is no readable archive of this package at `path`.
    """
    try:
        with tarfile.open(path) as package:
            about = _read_json(package, "package/package.json")
            trees = _read_json(package, "package/dist/json/nsi.min.json")["nsi"]
            wikidata = _read_json(package, "package/dist/wikidata/wikidata.min.json")["wikidata"]
        source = {"source": f"{about['name']} {about['version']}", "license": about["license"]}
    except (OSError, tarfile.TarError, KeyError, ValueError) as error:
        raise DataError("this is not a readable package of name-suggestion-index") from error
    entities = merge(trees)
    labels = choose_labels({key: entity.labels for key, entity in entities.items()}, minimum, cap)
    return table_of(entities, labels, wikidata).replace_schema_metadata(source)


def _read_json(package: tarfile.TarFile, member: str) -> dict[str, Any]:
    file = package.extractfile(member)
    if file is None:
        raise KeyError(f"{member} is not a file")
    return cast("dict[str, Any]", json.load(file))


def main(arguments: list[str] | None = None) -> None:
    """Command line: read a package, write the Parquet file, print the size of the result."""
    parser = argparse.ArgumentParser(
        prog="python -m labelwright.entities.importers.brands",
        description="Build the demo data set of brands and operators from name-suggestion-index.",
    )
    parser.add_argument(
        "package",
        type=Path,
        metavar="PACKAGE.tgz",
        help="the npm package name-suggestion-index, as `npm pack` fetches it",
    )
    parser.add_argument(
        "out",
        type=Path,
        metavar="OUT.parquet",
        help="the file to write; an existing file is replaced, and the same package always gives "
        "the same bytes",
    )
    parser.add_argument(
        "--minimum-examples",
        type=int,
        default=MINIMUM_EXAMPLES,
        metavar="N",
        help="drop labels with fewer than N entities (default: %(default)s)",
    )
    parser.add_argument(
        "--school-cap",
        type=int,
        default=SCHOOL_CAP,
        metavar="N",
        help="keep at most N entities with each school label (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    try:
        table = read_package(options.package, options.minimum_examples, options.school_cap)
    except DataError as error:
        parser.error(f"{options.package}: {error}")
    pq.write_table(table, options.out, compression="zstd", compression_level=19)
    label_count = len(set(table["labels"].combine_chunks().flatten().to_pylist()))
    print(f"{options.out}: {table.num_rows:,} entities, {label_count} labels")


if __name__ == "__main__":
    main()
