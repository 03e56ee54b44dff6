"""Hierarchy of categories: ancestors are the same in all paths, and there are no cycles."""

from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.entities.importers.hierarchy import Hierarchy

PATHS = st.lists(st.lists(st.sampled_from("abcdef"), max_size=5, unique=True), max_size=12)


def learned(paths: list[list[str]]) -> Hierarchy:
    hierarchy = Hierarchy()
    for path in paths:
        hierarchy.add(path)
    return hierarchy


def test_a_category_does_not_imply_an_ancestor_that_only_some_paths_have() -> None:
    hierarchy = learned([["food", "restaurant", "sushi"], ["shop", "sushi"], ["food", "cafe"]])
    assert hierarchy.implies == {"cafe": ("food",), "restaurant": ("food",)}
    assert hierarchy.with_ancestors(["sushi", "cafe", "food"]) == ["sushi", "food", "cafe"]


@given(PATHS)
@settings(deadline=None)
def test_implications_hold_in_every_path_and_are_transitive_and_acyclic(
    paths: list[list[str]],
) -> None:
    implies = learned(paths).implies
    for category, above in implies.items():
        assert category not in above
        for path in paths:
            if category in path:
                assert set(above) <= set(path[: path.index(category)])
        for higher in above:
            assert set(implies.get(higher, ())) <= set(above)
