"""Build the embedded demo data set of brands and operators from an npm package.

The package `name-suggestion-index` holds the names of chains, their countries, and the
OpenStreetMap tags of their places. An entity is one Wikidata item. Its labels are the `key=value`
tags of all entries of the package for it. No other column takes values from those tags. Wikidata's
descriptions ("German supermarket chain") are left out, because they would reveal the labels.

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
"""A label with fewer entities is dropped."""

MIRROR_SHARE = 0.9
"""Two labels of different keys are mirrors if this share of the entities of each have both."""

SCHOOL_CAP = 3000
"""Entities kept for each of `SCHOOL_LABELS`; most of these entities are school districts."""

SCHOOL_LABELS = (
    "amenity=school",
    "amenity=kindergarten",
    "amenity=college",
    "amenity=university",
)

IDENTITY_KEYS = (
    "brand operator owner network brewery money_transfer flag subject colour not discount"
)
CONTACT_KEYS = "website contact url email phone ssid ref bic nsi wikidata wikipedia"
IDENTITY_PARTS = frozenset(IDENTITY_KEYS.split() + CONTACT_KEYS.split())
"""A tag identifies an entity rather than describes it if a part of its key between colons is one of
these or ends in `name`: `operator:type`, `coffee:brand`, `short_name`."""

MAIN_KEYS = {"brands": "brand", "operators": "operator"}
"""The trees of the package that are read, and the key that names an entity there."""

COUNTRY_ALIASES = {"FX": "FR", "IC": "ES", "EL": "GR", "UK": "GB", "KV": "XK"}
"""Codes of the package that ISO 3166-1 does not have, and the codes that replace them."""

COUNTRY_LETTERS = (
    "ADEFGILMOQRSTUWXZ BABDEFGHIJLMNOQRSTVWYZ CACDFGHIKLMNORUVWXYZ DEJKMOZ ECEGHRST FIJKMOR "
    "GABDEFGHILMNPQRSTUWY HKMNRTU IDELMNOQRST JEMOP KEGHIMNPRWYZ LABCIKRSTUVY "
    "MACDEFGHKLMNOPQRSTUVWXYZ NACEFGILOPRUZ OM PAEFGHKLMNRSTWY QA REOSUW "
    "SABCDEGHIJKLMNORSTVXYZ TCDFGHJKLMNORTVWZ UAGMSYZ VACEGINU WFS XK YET ZAMW"
)
COUNTRIES = frozenset(
    group[0] + second for group in COUNTRY_LETTERS.split() for second in group[1:]
)
"""ISO 3166-1 alpha-2 codes, grouped above by their first letter, and XK, used for Kosovo."""

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
    """One entry of the package: the tags of the places of a brand or operator in some area."""

    displayName: str
    locationSet: dict[str, list[object]]
    tags: dict[str, str]
    matchNames: NotRequired[list[str]]
    fromTemplate: NotRequired[bool]


@dataclass(slots=True)
class Entity:
    """The merged entries of one Wikidata id."""

    votes: Counter[str] = field(default_factory=Counter)
    mentions: Counter[str] = field(default_factory=Counter)
    names: dict[str, None] = field(default_factory=dict)
    countries: set[str] = field(default_factory=set)
    worldwide: bool = False
    labels: set[str] = field(default_factory=set)

    def add(self, tree: str, item: Item) -> None:
        """Merge one entry of a tree of the package into this entity."""
        tags = item["tags"]
        self.votes.update(_main_names(tree, tags))
        names = dict.fromkeys(_names(tree, item))
        self.mentions.update(names.keys())
        self.names.update(names)
        included = [str(place).upper() for place in item["locationSet"].get("include", [])]
        self.worldwide |= WORLDWIDE in included
        # a part of a country is written like gb-eng or us-tx.geojson
        codes = {place.split("-")[0] for place in included}
        self.countries |= {COUNTRY_ALIASES.get(code, code) for code in codes} & COUNTRIES
        self.labels |= labels_of(tags)

    @property
    def name(self) -> str:
        """The main name that most entries mention; a display name if no entry has a main name.

        Entries mention the main names of other countries as translations. So Starbucks is not named
        after the three entries with another spelling.
        """
        return max(
            self.votes or self.mentions, key=lambda name: (self.mentions[name], self.votes[name])
        )

    @property
    def alternative_names(self) -> str | None:
        """All other spellings, joined by `;`, each once; spellings that differ in case are one."""
        spellings: dict[str, str] = {}
        for name in self.names:
            spellings.setdefault(name.casefold(), name)
        spellings.pop(self.name.casefold(), None)
        return ";".join(spellings.values()) or None

    @property
    def country(self) -> str | None:
        """The countries joined by `;`; None for an entity that exists worldwide."""
        return None if self.worldwide else ";".join(sorted(self.countries)) or None


def is_identity(key: str) -> bool:
    """Whether a tag's key identifies an entity; such a tag is never a label."""
    return any(part in IDENTITY_PARTS or part.endswith("name") for part in key.split(":"))


def labels_of(tags: Mapping[str, str]) -> set[str]:
    """The labels `key=value` of an entry's tags, one for each value of a list like `women;men`."""
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
    # The brand of a place and the company that runs it are two entities unless they share an id.
    own = "|".join(key for key in MAIN_KEYS.values() if tags.get(f"{key}:wikidata") == wikidata)
    own_key = re.compile(rf"({own})(:(short|official|abbr))?{_LANGUAGE}")
    names = [tags[key] for key in tags if _NAME_KEY.fullmatch(key) or own_key.fullmatch(key)]
    # The package adds "(Tanzania)" to "Vodacom" to distinguish its entries; it is not in the name.
    display_name = item["displayName"].strip()
    names += [*item.get("matchNames", []), _DISAMBIGUATION.sub("", display_name) or display_name]
    return [part.strip() for name in names for part in name.split(";") if part.strip()]


def merge(trees: Mapping[str, Mapping[str, Any]]) -> dict[str, Entity]:
    """One entity for each Wikidata id in the brands and operators of `nsi.json`.

    Entries that the package made from a template are left out, because they repeat another entry:
    an ATM for every bank, a totem for every petrol station, a pole for every power line.
    """
    entities: defaultdict[str, Entity] = defaultdict(Entity)
    # Brands come first, so that a brand's own name wins if two names are equally frequent.
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


def mirrors(label_sets: Iterable[set[str]], minimum: int = MINIMUM_EXAMPLES) -> set[str]:
    """The labels that repeat a label of another key: `healthcare=dentist` and `amenity=dentist`.

    OpenStreetMap has two keys for some facts, so that the same entities have both labels, with the
    same or different values (`amenity=doctors`, `healthcare=doctor`). To keep both would count one
    correct label twice. Two labels of different keys are mirrors if at least `MIRROR_SHARE` of the
    entities of each have both. The less frequent label is dropped or, if they are equally frequent,
    the one with the less frequent key. A label that only implies another, as `cuisine=donut`
    implies `takeaway=yes`, is kept. So are labels with fewer than `minimum` entities.
    """
    sets = list(label_sets)
    usual = Counter(itertools.chain.from_iterable(sets))
    keys = Counter(label.partition("=")[0] for label in itertools.chain.from_iterable(sets))
    together = Counter(
        pair
        for labels in sets
        for pair in itertools.combinations(sorted(x for x in labels if usual[x] >= minimum), 2)
    )

    def rank(label: str) -> tuple[int, int, str]:
        return usual[label], keys[label.partition("=")[0]], label

    return {
        min(pair, key=rank)
        for pair, count in together.items()
        if pair[0].partition("=")[0] != pair[1].partition("=")[0]
        and count >= MIRROR_SHARE * max(usual[label] for label in pair)
    }


def cap_schools(labels: Mapping[str, set[str]], cap: int = SCHOOL_CAP) -> dict[str, set[str]]:
    """Keep at most `cap` entities of each school label; the result maps ids to labels.

    Entities that have other labels too are kept first. The others are chosen by a hash of their id,
    which is as good as a random choice and the same at every run.
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
    """The labels of the entities to keep, by id: no mirrors, no rare labels, schools capped."""
    repeated = mirrors(labels.values(), minimum)
    capped = cap_schools({wikidata: own - repeated for wikidata, own in labels.items()}, cap)
    usual = Counter(itertools.chain.from_iterable(capped.values()))
    frequent = {label for label, count in usual.items() if count >= minimum}
    return {wikidata: own & frequent for wikidata, own in capped.items() if own & frequent}


def website(facts: Mapping[str, Any]) -> str | None:
    """The domain of a Wikidata item's preferred official website, or else of its first website."""
    preferred = facts.get("identities", {}).get("website")
    urls = [preferred, *facts.get("officialWebsites", []), *facts.get("locationInfoWebsites", [])]
    return next(filter(None, (domain(url) for url in urls if url)), None)


def table_of(
    entities: Mapping[str, Entity],
    labels: Mapping[str, set[str]],
    wikidata: Mapping[str, Mapping[str, Any]],
) -> pa.Table:
    """The Arrow table with `SCHEMA` of the entities that have labels, sorted by id."""
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
        help="the file to write, the same bytes at every run; an existing one is replaced",
    )
    parser.add_argument(
        "--minimum-examples",
        type=int,
        default=MINIMUM_EXAMPLES,
        metavar="N",
        help="drop labels with fewer entities (default: %(default)s)",
    )
    parser.add_argument(
        "--school-cap",
        type=int,
        default=SCHOOL_CAP,
        metavar="N",
        help="keep at most this many entities of each school label (default: %(default)s)",
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
