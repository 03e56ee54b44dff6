"""Label books: what is known about labels without any labelled row.

A book has for each label its titles and synonyms by language, a description, seed words, the labels
that it implies, and the old labels that it replaces.
"""

import collections
import dataclasses
import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from labelwright.entities.errors import DataError
from labelwright.entities.redirects import Redirects
from labelwright.entities.schema import EntitySchema
from labelwright.entities.text import label_form, normalise_one

UNDETERMINED = "und"
"""The language tag of texts without a stated language (BCP 47)."""
ENGLISH = "en"
_TWO_LETTERS = frozenset(
    """
    aa ab ae af ak am an ar as av ay az ba be bg bi bm bn bo br bs ca ce ch co cr cs cu cv cy da
    de dv dz ee el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy
    hz ia id ie ig ii ik io is it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg
    li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om or
    os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg sh si sk sl sm sn so sq sr ss st su sv sw
    ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu
    """.split()  # noqa: SIM905
)
"""The two-letter codes of languages (ISO 639-1). Codes of three letters are not looked up."""
_WORD = re.compile(r"[^\W\d_]+")
_LANGUAGE = re.compile("([a-z]{2,3})(-[A-Za-z0-9]{1,8})*")


@dataclasses.dataclass(frozen=True)
class LabelEntry:
    """The entry of one label.

    `titles` and `synonyms` are by language (BCP 47). `seeds` are words that occur in the texts of
    entities with this label. `group` is a name for related labels. Every entity with this label
    also has the labels in `implies`. `replaces` are old names of this label. A `retired` label is
    replaced by none. `owner` is the person or team to ask about the label.
    """

    titles: Mapping[str, str] = dataclasses.field(default_factory=dict)
    synonyms: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    description: str = ""
    seeds: tuple[str, ...] = ()
    group: str = ""
    implies: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    retired: bool = False
    owner: str = ""

    @property
    def texts(self) -> list[str]:
        """All texts from which a model learns the label, each once: in any spelling of case."""
        synonyms = (text for texts in self.synonyms.values() for text in texts)
        found = (*self.titles.values(), *synonyms, *self.seeds, self.description)
        return list({normalise_one(text): text for text in found if text}.values())

    def title(self, language: str) -> str | None:
        """The title in a language, or else in English or in the first language; None without."""
        for each in (language, language.partition("-")[0], ENGLISH, *self.titles):
            if each in self.titles:
                return self.titles[each]
        return None

    def to_mapping(self) -> dict[str, Any]:
        """The content of the entry's TOML or JSON form, without empty fields."""
        content: dict[str, Any] = {
            "title": dict(self.titles),
            "synonyms": {language: list(texts) for language, texts in self.synonyms.items()},
            "description": self.description,
            "seeds": list(self.seeds),
            "group": self.group,
            "implies": list(self.implies),
            "replaces": list(self.replaces),
            "retired": self.retired,
            "owner": self.owner,
        }
        return {name: value for name, value in content.items() if value}


FIELDS = ("title", "synonyms", "description", "seeds", "group", "implies", "replaces", "retired",
          "owner")  # fmt: skip
"""The names of an entry's fields in files."""
BY_LANGUAGE = ("title", "synonyms")
"""The fields that may have a language."""


@dataclasses.dataclass(frozen=True)
class LabelBook:
    """The entries of labels, by label.

    With `of_any_data`, the book is about more labels than one data set has: a model learns only
    those of groups that its training data have.
    """

    entries: Mapping[str, LabelEntry] = dataclasses.field(default_factory=dict)
    of_any_data: bool = False

    @classmethod
    def checked(cls, entries: Sequence[tuple[str, str, LabelEntry]]) -> Self:
        """A book of entries with their labels; the first item is the place in the file.

        Raises DataError if a label is empty or occurs twice, or if implications or replacements
        form a cycle.
        """
        book: dict[str, LabelEntry] = {}
        places: dict[str, str] = {}
        for place, label, entry in entries:
            if not label:
                raise DataError(f"{place}: the label is empty")
            if label in book:
                raise DataError(f"{place}: the label is also in {places[label]}; join the entries")
            book[label], places[label] = entry, place
        _check_cycles({label: entry.implies for label, entry in book.items()}, places, "implies")
        targets: dict[str, str] = {}
        for label, entry in book.items():
            for old in entry.replaces:
                if targets.setdefault(old, label) != label:
                    raise DataError(
                        f"{places[label]}: a label in 'replaces' is already replaced by the entry "
                        f"in {places[targets[old]]}"
                    )
            if entry.retired and targets.setdefault(label, "") != "":
                raise DataError(f"{places[label]}: the label is retired, but also replaced")
        _check_cycles({old: (new,) for old, new in targets.items()}, places, "replaces")
        return cls(book)

    @classmethod
    def from_mapping(cls, content: Mapping[str, Any], places: Sequence[str] = ()) -> Self:
        """The book of a mapping from labels to the TOML or JSON form of entries; raises DataError.

        `places` are the entries' places in the file, for messages.
        """
        found = []
        for number, (label, given) in enumerate(content.items()):
            place = places[number] if places else f"entry {number + 1}"
            found.append((place, label_form(label), read_entry(place, given)))
        return cls.checked(found)

    def to_mapping(self) -> dict[str, Any]:
        """The inverse of `from_mapping`."""
        return {label: entry.to_mapping() for label, entry in self.entries.items()}

    def __len__(self) -> int:
        return len(self.entries)

    @functools.cached_property
    def languages(self) -> list[str]:
        """The languages of all titles and synonyms, sorted."""
        found = ((*entry.titles, *entry.synonyms) for entry in self.entries.values())
        return sorted({language for languages in found for language in languages})

    @property
    def implies(self) -> Mapping[str, tuple[str, ...]]:
        """The labels that each label implies, as in an `EntitySchema`."""
        return {label: entry.implies for label, entry in self.entries.items() if entry.implies}

    @property
    def redirects(self) -> Redirects:
        """The labels that replace old labels."""
        targets = {old: label for label, entry in self.entries.items() for old in entry.replaces}
        retired = {label: "" for label, entry in self.entries.items() if entry.retired}
        return Redirects({**targets, **retired})

    def words_of(self, label: str) -> frozenset[str]:
        """The words of all texts of a label; none if the book does not have the label."""
        entry = self.entries.get(label)
        return words_of(" ".join(entry.texts)) if entry else frozenset()

    def extend(self, schema: EntitySchema) -> EntitySchema:
        """The schema with the implications and replacements of the book; raises DataError."""
        implies = dict(schema.implies)
        for label, implied in self.implies.items():
            implies[label] = tuple(dict.fromkeys((*implies.get(label, ()), *implied)))
        targets = {**schema.redirects.targets, **self.redirects.targets}
        return dataclasses.replace(schema, implies=implies, redirects=Redirects(targets))

    def relevant(self, labels: Iterable[str]) -> Self:
        """The entries for a model whose training data have these labels."""
        if not self.of_any_data:
            return self
        groups = {group_of(label) for label in labels}
        kept = {label: entry for label, entry in self.entries.items() if group_of(label) in groups}
        return dataclasses.replace(self, entries=kept)

    @property
    def taught(self) -> list[str]:
        """The labels that have a text from which a model learns."""
        return [label for label, entry in self.entries.items() if entry.texts and not entry.retired]

    def titles(self) -> dict[str, str]:
        """The title of each label that has one: in English, or else in its first language."""
        return {
            label: title for label, entry in self.entries.items() if (title := entry.title(ENGLISH))
        }

    def texts(self) -> dict[str, list[str]]:
        """Each text of the book, and its labels: with the labels that these imply."""
        spelt: dict[str, str] = {}
        labels: dict[str, dict[str, None]] = collections.defaultdict(dict)
        for label, entry in self.entries.items():
            if entry.retired:
                continue
            every = self._with_implied(label)
            for text in entry.texts:
                form = normalise_one(text)
                spelt.setdefault(form, text)
                labels[form] |= every
        return {spelt[form]: list(found) for form, found in labels.items()}

    def _with_implied(self, label: str) -> dict[str, None]:
        found, waiting = dict.fromkeys([label]), [label]
        while waiting:
            entry = self.entries.get(waiting.pop())
            for implied in entry.implies if entry else ():
                if implied not in found:
                    found[implied] = None
                    waiting.append(implied)
        return found


def words_of(text: str) -> frozenset[str]:
    """The words of a text in their normal form."""
    return frozenset(_WORD.findall(normalise_one(text)))


def group_of(label: str) -> str:
    """The group of a label: the text before the first equals sign, or the name if it has none."""
    return label.partition("=")[0]


def read_entry(place: str, given: Any) -> LabelEntry:
    """The entry of its TOML or JSON form; `place` is its place in the file; raises DataError."""
    if not isinstance(given, Mapping):
        raise DataError(f"{place}: the entry is not a table of {', '.join(FIELDS)}")
    if unknown := sorted(set(given) - set(FIELDS)):
        raise DataError(f"{place}: unknown key {unknown[0]!r}; the keys are {', '.join(FIELDS)}")
    if not isinstance(given.get("retired", False), bool):
        raise DataError(f"{place}: 'retired' must be true or false")
    titles = _by_language(place, "title", given)
    return LabelEntry(
        {language: _one(place, "title", title) for language, title in titles.items()},
        {
            language: _several(place, "synonyms", texts)
            for language, texts in _by_language(place, "synonyms", given).items()
        },
        _one(place, "description", given.get("description"), empty=True),
        _several(place, "seeds", given.get("seeds", [])),
        _one(place, "group", given.get("group"), empty=True),
        tuple(map(label_form, _several(place, "implies", given.get("implies", [])))),
        tuple(map(label_form, _several(place, "replaces", given.get("replaces", [])))),
        given.get("retired", False),
        _one(place, "owner", given.get("owner"), empty=True),
    )


def _by_language(place: str, name: str, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The values of a field by language; a single value has no language."""
    if name not in given:
        return {}
    value = given[name]
    if not isinstance(value, Mapping):
        return {UNDETERMINED: value}
    for language in value:
        check_language(place, name, language)
    return value


def check_language(place: str, name: str, language: str) -> None:
    """Raise DataError unless a language tag is known."""
    found = _LANGUAGE.fullmatch(language)
    if found is None or (len(found[1]) == 2 and found[1] not in _TWO_LETTERS):
        raise DataError(
            f"{place}: {name!r} has an unknown language code; expected a code of BCP 47, such as "
            "en, de or pt-BR"
        )


def _one(place: str, name: str, value: Any, empty: bool = False) -> str:
    if value is None and empty:
        return ""
    if not isinstance(value, str):
        raise DataError(f"{place}: {name!r} must be a text")
    text = label_form(value)
    if not text and not empty:
        raise DataError(f"{place}: {name!r} is empty; write a text, or leave it out")
    return text


def _several(place: str, name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)):
        raise DataError(f"{place}: {name!r} must be a list of texts")
    return tuple(dict.fromkeys(_one(place, name, text) for text in value))


def _check_cycles(edges: Mapping[str, Sequence[str]], places: Mapping[str, str], name: str) -> None:
    """Raise DataError if the labels form a cycle."""
    done: set[str] = set()
    for start in edges:
        path: dict[str, None] = {}
        waiting = [(start, False)]
        while waiting:
            label, left = waiting.pop()
            if left:
                del path[label]
                done.add(label)
            elif label in path:
                raise DataError(
                    f"{places.get(label, 'the book')}: the labels in {name!r} form a cycle; remove "
                    "one of them"
                )
            elif label not in done:
                path[label] = None
                waiting.append((label, True))
                waiting += [(other, False) for other in edges.get(label, ())]
