"""The linear stage: a score for every label, and from the scores a few candidates.

Weights are 8-bit integers with one scale for each feature. The most frequent features have a dense
row of weights, where nearly all of the work is; the others, whose rows are nearly empty, a sparse
one.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from labelwright.models.features.space import FeatureRows
from labelwright.models.kernels.jit import compiled
from labelwright.models.kernels.simd import (
    BLOCK,
    CACHE_LINE,
    add_rows,
    at_least,
    fetch,
    trailing_zeros,
)

DENSE_BYTES = 96 << 20
"""How much the dense rows may take."""
PRUNED_BELOW = 0.05
"""Weights of sparse rows that are smaller are dropped; measured to cost nothing."""
ZERO = 128
"""How a weight of 0 is written in a sparse row, whose numbers have no sign."""
_LABEL, _WEIGHT = np.uint32(8), np.uint32(255)
"""Where in a word of a sparse row the label begins, and which bits are the weight."""
_WORDS_FETCHED = CACHE_LINE // 4
_LARGEST_STEP, _STEPS_AT_MOST = np.float32(2**15 - 1), np.float32(2**23)

Scores = npt.NDArray[np.float32]
LabelIds = npt.NDArray[np.int32]
Words = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float32]


class LinearStage(NamedTuple):
    """One linear classifier for each label.

    bias float32[labels]; scales float32[features]; dense int8[dense features, `padded(labels)`],
    of which the columns beyond the labels are 0; sparse rows: sparse_indptr int64[features - dense
    features + 1] and sparse uint32[weights], as `joined` makes them.
    """

    bias: Floats
    scales: Floats
    dense: npt.NDArray[np.int8]
    sparse_indptr: npt.NDArray[np.int64]
    sparse: Words

    def scores(self, rows: FeatureRows) -> Scores:
        """Scores of all labels, n x labels: signed distances where 1 is the margin of a label."""
        out = np.empty((len(rows.indptr) - 1, len(self.bias)), np.float32)
        _score(self, rows, out)
        return out

    def weights(self, features: npt.NDArray[np.int32], labels: LabelIds) -> npt.NDArray[np.float32]:
        """The weights of some features for some distinct labels, features x labels."""
        out = np.zeros((len(features), len(labels)), np.float32)
        places = np.full(len(self.bias), -1, np.int64)
        places[labels] = np.arange(len(labels))
        _weigh(self, features, labels, places, out)
        return out


class Line(NamedTuple):
    """The scores of one entity: `scores` (float32[padded(labels)]) and the largest of each block.

    What is beyond the labels is minus infinity.
    """

    scores: Scores
    peaks: Floats


class Ahead(NamedTuple):
    """The features of an entity and of the next one.

    `features` (int32) and `factors` (float32) are 2 x (the longest row + 1): of each entity the
    dense features first, as many as `dense` (int64[2]) says, then an idle place, and the sparse
    ones up to `ends`. The factors of dense features are also given as `steps` (int16), each of a
    size in `sizes` (float32[2]).
    """

    features: npt.NDArray[np.int32]
    factors: Floats
    steps: npt.NDArray[np.int16]
    sizes: Floats
    dense: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]


def padded(labels: int) -> int:
    """The number of columns of dense rows: whole blocks."""
    return -(-labels // BLOCK) * BLOCK


def joined(labels: LabelIds, weights: npt.NDArray[np.int8]) -> Words:
    """Words of sparse rows, each a label * 256 + its weight + ZERO: one place to wait for."""
    return labels.astype(np.uint32) << _LABEL | (weights + np.int16(ZERO)).astype(np.uint32)


def parted(sparse: Words) -> tuple[LabelIds, npt.NDArray[np.int8]]:
    """The labels and weights that `joined` was given."""
    weights = (sparse & _WEIGHT).astype(np.int16) - np.int16(ZERO)
    return (sparse >> _LABEL).astype(np.int32), weights.astype(np.int8)


def candidates(scores: Scores, count: int) -> LabelIds:
    """The ids of the `count` best labels of each row, best first, n x count; ties by id."""
    out = np.empty((scores.shape[0], min(count, scores.shape[1])), np.int32)
    _candidates(scores, out)
    return out


@compiled
def new_line(labels: int) -> Line:
    """Room for the scores of one entity."""
    blocks = (labels + BLOCK - 1) // BLOCK
    scores = np.full(blocks * BLOCK, -np.inf, np.float32)
    return Line(scores, np.empty(blocks, np.float32))


@compiled
def new_ahead(rows: FeatureRows) -> Ahead:
    """Room for the features of any two of some entities, the first of which is looked at next."""
    longest = 0
    for row in range(rows.indptr.size - 1):
        longest = max(longest, rows.indptr[row + 1] - rows.indptr[row])
    return Ahead(
        np.empty((2, longest + 1), np.int32),
        np.empty((2, longest + 1), np.float32),
        np.empty((2, longest + 1), np.int16),
        np.empty(2, np.float32),
        np.zeros(2, np.int64),
        np.zeros(2, np.int64),
    )


@compiled
def _parted(word: np.uint32) -> tuple[int, np.float32]:
    """The label and the weight of a word of a sparse row."""
    return int(word >> _LABEL), np.float32(np.int64(word & _WEIGHT) - ZERO)


@compiled
def _look_at(stage: LinearStage, rows: FeatureRows, row: int, ahead: Ahead) -> None:
    """Note the features of a row; of no row where that is past the last."""
    place, frequent = row & 1, stage.dense.shape[0]
    dense = end = 0
    if row < rows.indptr.size - 1:
        end = rows.indptr[row + 1] - rows.indptr[row] + 1
        last = end
        for i in range(rows.indptr[row], rows.indptr[row + 1]):
            feature = rows.indices[i]
            if feature < frequent:
                at = dense
                dense += 1
            else:
                last -= 1
                at = last
                fetch(stage.sparse_indptr, feature - frequent)
            ahead.features[place, at] = feature
            ahead.factors[place, at] = rows.values[i] * stage.scales[feature]
    ahead.dense[place] = dense
    ahead.ends[place] = end
    _step(ahead, place)


@compiled
def _step(ahead: Ahead, place: int) -> None:
    """Give the factors of dense features as whole steps, as small as fit into 16 bits.

    And so small that the sum of all, times any weight, fits into 32.
    """
    factors, steps, dense = ahead.factors[place], ahead.steps[place], ahead.dense[place]
    largest = total = np.float32(0)
    for i in range(dense):
        largest = max(largest, abs(factors[i]))
        total += abs(factors[i])
    size = max(largest / _LARGEST_STEP, total / _STEPS_AT_MOST)
    ahead.sizes[place] = size
    for i in range(dense):
        steps[i] = np.rint(factors[i] / size) if size > 0 else 0
    if dense > 0:  # what the idle place names is looked at, but counts for nothing
        ahead.features[place, dense] = ahead.features[place, dense - 1]
        steps[dense] = 0


@compiled
def _fetch_sparse(stage: LinearStage, ahead: Ahead, place: int) -> None:
    """Ask for the sparse weights of a row that was looked at some time ago."""
    for i in range(ahead.dense[place] + 1, ahead.ends[place]):
        rare = ahead.features[place, i] - stage.dense.shape[0]
        for j in range(stage.sparse_indptr[rare], stage.sparse_indptr[rare + 1], _WORDS_FETCHED):
            fetch(stage.sparse, j)


@compiled
def score_row(stage: LinearStage, rows: FeatureRows, row: int, ahead: Ahead, line: Line) -> None:
    """The scores of one row. Rows come in order: each fetches the weights of the next one."""
    if row == 0:
        _look_at(stage, rows, 0, ahead)
    _look_at(stage, rows, row + 1, ahead)
    here, there = row & 1, 1 - (row & 1)
    for label in range(stage.bias.size):
        line.scores[label] = stage.bias[label]
    for i in range(ahead.dense[here] + 1, ahead.ends[here]):
        factor, rare = ahead.factors[here, i], ahead.features[here, i] - stage.dense.shape[0]
        for j in range(stage.sparse_indptr[rare], stage.sparse_indptr[rare + 1]):
            label, weight = _parted(stage.sparse[j])
            line.scores[label] += factor * weight
    features, steps, count = ahead.features[here], ahead.steps[here], ahead.dense[here]
    later, more, size = ahead.features[there], ahead.dense[there], ahead.sizes[here]
    for block in range(line.peaks.size):
        line.peaks[block] = add_rows(
            stage.dense, features, steps, count, later, more, block, size, line.scores
        )
    _fetch_sparse(stage, ahead, there)


@compiled
def choose(line: Line, least: np.float32, chosen: LabelIds) -> None:
    """The best labels of one row, best first, ties by id; `chosen` says how many.

    Only labels that reach `least` are looked at, a score that as many labels reach: they are
    inserted into a short sorted list.
    """
    count, held = chosen.size, 0
    for place in range(count):
        chosen[place] = place  # ids that exist, even where no score compares with any other
    best = np.empty(count, np.float32)
    for block in range(line.peaks.size):
        if line.peaks[block] < least:
            continue
        found = at_least(line.scores, block, least)
        while found != 0:
            label = block * BLOCK + trailing_zeros(found)
            found &= found - np.uint64(1)
            score = line.scores[label]
            if held == count and score <= best[count - 1]:
                continue
            place = held if held < count else count - 1
            held = min(held + 1, count)
            while place > 0 and best[place - 1] < score:
                best[place] = best[place - 1]
                chosen[place] = chosen[place - 1]
                place -= 1
            best[place] = score
            chosen[place] = label


@compiled
def peak_of_rank(peaks: Floats, rank: int) -> np.float32:
    """The largest peak that at least `rank` peaks reach, minus infinity if there are fewer.

    So at least as many labels reach it.
    """
    found = np.float32(-np.inf)
    for peak in peaks:
        reaching = 0
        for other in peaks:
            reaching += other >= peak
        if reaching >= rank:
            found = max(found, peak)
    return found


@compiled
def _score(stage: LinearStage, rows: FeatureRows, out: Scores) -> None:
    ahead, line = new_ahead(rows), new_line(stage.bias.size)
    for row in range(out.shape[0]):
        score_row(stage, rows, row, ahead, line)
        out[row] = line.scores[: out.shape[1]]


@compiled
def _candidates(scores: Scores, out: LabelIds) -> None:
    line = new_line(scores.shape[1])
    for row in range(scores.shape[0]):
        fill_line(scores[row], line)
        choose(line, peak_of_rank(line.peaks, out.shape[1]), out[row])


@compiled
def fill_line(scores: Scores, line: Line) -> None:
    """Take over the scores of one entity."""
    line.scores[: scores.size] = scores
    for block in range(line.peaks.size):
        line.peaks[block] = line.scores[block * BLOCK : (block + 1) * BLOCK].max()


@compiled
def _weigh(
    stage: LinearStage,
    features: npt.NDArray[np.int32],
    labels: LabelIds,
    places: npt.NDArray[np.int64],
    out: Floats,
) -> None:
    """`places` holds the position of each label in `labels`, or -1."""
    frequent = stage.dense.shape[0]
    for i in range(features.size):
        scale = stage.scales[features[i]]
        if features[i] < frequent:
            for j in range(labels.size):
                out[i, j] = scale * np.float32(stage.dense[features[i], labels[j]])
        else:
            rare = features[i] - frequent
            for k in range(stage.sparse_indptr[rare], stage.sparse_indptr[rare + 1]):
                label, weight = _parted(stage.sparse[k])
                if places[label] >= 0:
                    out[i, places[label]] = scale * weight
