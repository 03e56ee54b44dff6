"""Which categories lie above which, as far as the data agree."""

from collections.abc import Iterable, Mapping, Sequence


class Hierarchy:
    """Paths of categories, from the most general to the most specific.

    A category lies below another if it does so in every path it is part of; so no two lie below
    each other, as long as no path names a category twice.
    """

    def __init__(self) -> None:
        self._above: dict[str, tuple[str, ...]] = {}
        self._seen: set[tuple[str, ...]] = set()

    def add(self, path: Sequence[str]) -> None:
        """Learn from one path."""
        key = tuple(dict.fromkeys(path))
        if key in self._seen:
            return
        self._seen.add(key)
        for depth, category in enumerate(key):
            above = self._above.get(category, key[:depth])
            self._above[category] = tuple(each for each in above if each in key[:depth])

    @property
    def implies(self) -> Mapping[str, tuple[str, ...]]:
        """Each category that lies below others, with these."""
        return {category: above for category, above in sorted(self._above.items()) if above}

    def closed(self, categories: Iterable[str]) -> list[str]:
        """Categories with all that they lie below, each once."""
        found: dict[str, None] = {}
        for category in categories:
            found |= dict.fromkeys((*self._above.get(category, ()), category))
        return list(found)
