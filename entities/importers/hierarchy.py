"""Hierarchy of categories, learned from the category paths of the data."""

from collections.abc import Iterable, Mapping, Sequence


class Hierarchy:
    """The ancestors of each category, learned from paths that begin with the most general category.

    Category A is an ancestor of category B if A comes before B in every path that contains B.
    Therefore two categories are never ancestors of each other. If a path contains a category twice,
    only the first occurrence counts.
    """

    def __init__(self) -> None:
        self._ancestors: dict[str, tuple[str, ...]] = {}
        self._seen: set[tuple[str, ...]] = set()

    def add(self, path: Sequence[str]) -> None:
        """Learn from one path."""
        key = tuple(dict.fromkeys(path))
        if key in self._seen:
            return
        self._seen.add(key)
        for depth, category in enumerate(key):
            above = self._ancestors.get(category, key[:depth])
            self._ancestors[category] = tuple(each for each in above if each in key[:depth])

    @property
    def categories(self) -> list[str]:
        """All categories, in alphabetical order."""
        return sorted(self._ancestors)

    @property
    def implies(self) -> Mapping[str, tuple[str, ...]]:
        """The ancestors of each category that has ancestors, in alphabetical order of category."""
        return {category: above for category, above in sorted(self._ancestors.items()) if above}

    def with_ancestors(self, categories: Iterable[str]) -> list[str]:
        """The given categories and all their ancestors, each once."""
        found: dict[str, None] = {}
        for category in categories:
            found |= dict.fromkeys((*self._ancestors.get(category, ()), category))
        return list(found)
