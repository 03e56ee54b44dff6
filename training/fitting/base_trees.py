"""Trees in LightGBM's text format with other numbers of categories."""

import re

import numpy as np
import numpy.typing as npt

_BITS = 32


def renumbered(text: str, numbers: npt.NDArray[np.int64]) -> str:
    """The trees with other ids of labels: the label i becomes `numbers[i]`.

    A label whose new id is -1 is left out.
    """
    trees, end, rest = text.partition("end of trees\n")
    head, *parts = re.split(r"(?=^Tree=)", trees, flags=re.M)
    parts = [_renumbered_tree(part, numbers) for part in parts]
    sizes = " ".join(str(len(part)) for part in parts)
    return re.sub(r"(?<=^tree_sizes=).*", sizes, head, flags=re.M) + "".join(parts) + end + rest


def _renumbered_tree(tree: str, numbers: npt.NDArray[np.int64]) -> str:
    """One tree; its categories are sets of bits in words, and the bounds of these sets."""
    found = re.search(r"^cat_boundaries=(.*)\ncat_threshold=(.*)$", tree, flags=re.M)
    if found is None:
        return tree
    bounds, words = (np.array(part.split(), np.int64) for part in found.groups())
    sets = [_renumbered_set(part, numbers) for part in np.split(words, bounds[1:-1])]
    bounds = np.cumsum([0, *map(len, sets)])
    lines = (
        f"cat_boundaries={' '.join(map(str, bounds))}\n"
        f"cat_threshold={' '.join(map(str, np.concatenate(sets)))}"
    )
    return tree[: found.start()] + lines + tree[found.end() :]


def _renumbered_set(
    words: npt.NDArray[np.int64], numbers: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint32]:
    bits = np.unpackbits(words.astype("<u4").view(np.uint8), bitorder="little")
    members = np.flatnonzero(bits)
    members = numbers[members[members < len(numbers)]]
    size = max(_BITS, -(-(int(members.max(initial=0)) + 1) // _BITS) * _BITS)
    moved = np.zeros(size, np.uint8)
    moved[members[members >= 0]] = 1
    return np.packbits(moved, bitorder="little").view("<u4").astype(np.uint32)
