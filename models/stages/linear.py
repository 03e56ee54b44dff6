"""The linear stage: a score for every label, and the labels with the highest scores as candidates.

Weights are 8-bit integers with one scale for each feature. The most frequent features have dense
rows of weights; nearly all of the computing time is spent on these. All other features have sparse
rows, because most of their weights are 0.
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
    prefetch_element,
    trailing_zeros,
)

DENSE_BYTES = 96 << 20
"""Maximum size of all dense rows together."""
PRUNED_BELOW = 0.05
"""Weights of sparse rows below this are dropped. This had no measurable effect on quality."""
ZERO = 128
"""The number that encodes weight 0 in sparse rows, where weights are stored as unsigned bytes."""
_LABEL, _WEIGHT = np.uint32(8), np.uint32(255)
"""In a word of a sparse row: the position of the label's lowest bit, and the mask of the weight."""
_WORDS_PER_LINE = CACHE_LINE // 4
_LARGEST_STEP, _STEPS_AT_MOST = np.float32(2**15 - 1), np.float32(2**23)

Scores = npt.NDArray[np.float32]
LabelIds = npt.NDArray[np.int32]
Words = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float32]


class LinearStage(NamedTuple):
    """One linear classifier for each label.

    `bias` float32[labels]; `scales` float32[features]; `dense` int8[dense features,
    padded(labels)], with zeros in the columns after the last label; `sparse_indptr` int64[other
    features + 1] and `sparse` uint32[weights] are the sparse rows, packed by `pack_weights`.
    """

    bias: Floats
    scales: Floats
    dense: npt.NDArray[np.int8]
    sparse_indptr: npt.NDArray[np.int64]
    sparse: Words

    def scores(self, rows: FeatureRows) -> Scores:
        """The scores of all labels, n x labels: decision values, with the margins at 1 and -1."""
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


class RowScores(NamedTuple):
    """The scores of one entity.

    `scores` is float32[padded(labels)], with minus infinity after the last label. `peaks` (float32)
    has the largest score of each block of BLOCK labels.
    """

    scores: Scores
    peaks: Floats


class Lookahead(NamedTuple):
    """Working memory for the features of two entities: the current one and the next one.

    The weights of the next entity are prefetched. Entity r uses slot r modulo 2 of each array.
    `features` (int32) and `factors` (float32) are 2 x (the longest row + 1). A slot contains first
    the features with dense rows (`dense`, int64[2], is their number), then one unused entry, then
    the features with sparse rows up to `ends` (int64[2]). The factors of features with dense rows
    are also stored as multiples (`steps`, int16) of a step (`sizes`, float32[2]).
    """

    features: npt.NDArray[np.int32]
    factors: Floats
    steps: npt.NDArray[np.int16]
    sizes: Floats
    dense: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]


def padded(labels: int) -> int:
    """The number of columns of dense rows: the labels, rounded up to whole blocks."""
    return -(-labels // BLOCK) * BLOCK


def pack_weights(labels: LabelIds, weights: npt.NDArray[np.int8]) -> Words:
    """Words of sparse rows: label * 256 + weight + ZERO. Reading a word is one memory access."""
    return labels.astype(np.uint32) << _LABEL | (weights + np.int16(ZERO)).astype(np.uint32)


def unpack_weights(sparse: Words) -> tuple[LabelIds, npt.NDArray[np.int8]]:
    """The labels and weights of words that `pack_weights` has packed."""
    weights = (sparse & _WEIGHT).astype(np.int16) - np.int16(ZERO)
    return (sparse >> _LABEL).astype(np.int32), weights.astype(np.int8)


def candidates(scores: Scores, count: int) -> LabelIds:
    """The ids of the `count` best labels of each row, n x count.

    The best label comes first; labels with equal scores are sorted by id.
    """
    out = np.empty((scores.shape[0], min(count, scores.shape[1])), np.int32)
    _candidates(scores, out)
    return out


@compiled
def new_row_scores(labels: int) -> RowScores:
    """Working memory for the scores of one entity."""
    blocks = (labels + BLOCK - 1) // BLOCK
    scores = np.full(blocks * BLOCK, -np.inf, np.float32)
    return RowScores(scores, np.empty(blocks, np.float32))


@compiled
def new_lookahead(rows: FeatureRows) -> Lookahead:
    """Working memory for `score_row`, large enough for any two of these rows."""
    longest = 0
    for row in range(rows.indptr.size - 1):
        longest = max(longest, rows.indptr[row + 1] - rows.indptr[row])
    return Lookahead(
        np.empty((2, longest + 1), np.int32),
        np.empty((2, longest + 1), np.float32),
        np.empty((2, longest + 1), np.int16),
        np.empty(2, np.float32),
        np.zeros(2, np.int64),
        np.zeros(2, np.int64),
    )


@compiled
def _unpack_weight(word: np.uint32) -> tuple[int, np.float32]:
    """The label and the weight of a word of a sparse row."""
    return int(word >> _LABEL), np.float32(np.int64(word & _WEIGHT) - ZERO)


@compiled
def _load_features(stage: LinearStage, rows: FeatureRows, row: int, lookahead: Lookahead) -> None:
    """Copy the features of a row to the working memory; none if `row` is after the last one."""
    slot, frequent = row & 1, stage.dense.shape[0]
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
                prefetch_element(stage.sparse_indptr, feature - frequent)
            lookahead.features[slot, at] = feature
            lookahead.factors[slot, at] = rows.values[i] * stage.scales[feature]
    lookahead.dense[slot] = dense
    lookahead.ends[slot] = end
    _quantise(lookahead, slot)


@compiled
def _quantise(lookahead: Lookahead, slot: int) -> None:
    """Round the factors of features with dense rows to multiples of a step.

    The step is the smallest for which each multiple fits into 16 bits, and the sum of the multiples
    times any weight fits into 32 bits.
    """
    factors, steps, dense = lookahead.factors[slot], lookahead.steps[slot], lookahead.dense[slot]
    largest = total = np.float32(0)
    for i in range(dense):
        largest = max(largest, abs(factors[i]))
        total += abs(factors[i])
    size = max(largest / _LARGEST_STEP, total / _STEPS_AT_MOST)
    lookahead.sizes[slot] = size
    for i in range(dense):
        steps[i] = np.rint(factors[i] / size) if size > 0 else 0
    if dense > 0:  # `add_rows` may read the unused entry, so it needs a valid row
        lookahead.features[slot, dense] = lookahead.features[slot, dense - 1]
        steps[dense] = 0


@compiled
def _prefetch_sparse(stage: LinearStage, lookahead: Lookahead, slot: int) -> None:
    """Prefetch the sparse rows of an entity; `_load_features` has prefetched their offsets."""
    for i in range(lookahead.dense[slot] + 1, lookahead.ends[slot]):
        rare = lookahead.features[slot, i] - stage.dense.shape[0]
        for j in range(stage.sparse_indptr[rare], stage.sparse_indptr[rare + 1], _WORDS_PER_LINE):
            prefetch_element(stage.sparse, j)


@compiled
def score_row(
    stage: LinearStage, rows: FeatureRows, row: int, lookahead: Lookahead, row_scores: RowScores
) -> None:
    """Compute the scores of one entity. Call this for rows 0, 1, 2 and so on: each call loads the
    features of the next row.
    """
    if row == 0:
        _load_features(stage, rows, 0, lookahead)
    _load_features(stage, rows, row + 1, lookahead)
    current, following = row & 1, 1 - (row & 1)
    for label in range(stage.bias.size):
        row_scores.scores[label] = stage.bias[label]
    for i in range(lookahead.dense[current] + 1, lookahead.ends[current]):
        factor, rare = (
            lookahead.factors[current, i],
            lookahead.features[current, i] - stage.dense.shape[0],
        )
        for j in range(stage.sparse_indptr[rare], stage.sparse_indptr[rare + 1]):
            label, weight = _unpack_weight(stage.sparse[j])
            row_scores.scores[label] += factor * weight
    features, steps, count = (
        lookahead.features[current],
        lookahead.steps[current],
        lookahead.dense[current],
    )
    next_features, next_count, size = (
        lookahead.features[following],
        lookahead.dense[following],
        lookahead.sizes[current],
    )
    for block in range(row_scores.peaks.size):
        row_scores.peaks[block] = add_rows(
            stage.dense,
            features,
            steps,
            count,
            next_features,
            next_count,
            block,
            size,
            row_scores.scores,
        )
    _prefetch_sparse(stage, lookahead, following)


@compiled
def choose(row_scores: RowScores, least: np.float32, chosen: LabelIds) -> None:
    """Write the ids of the best labels of one row to `chosen`.

    The best label comes first; labels with equal scores are sorted by id. Only labels with a score
    of at least `least` are considered; there must be at least `chosen.size` of them. They are
    inserted into a short sorted list.
    """
    count, size = chosen.size, 0
    for place in range(count):
        chosen[place] = place  # valid ids, even if all scores are NaN
    best = np.empty(count, np.float32)
    for block in range(row_scores.peaks.size):
        if row_scores.peaks[block] < least:
            continue
        found = at_least(row_scores.scores, block, least)
        while found != 0:
            label = block * BLOCK + trailing_zeros(found)
            found &= found - np.uint64(1)
            score = row_scores.scores[label]
            if size == count and score <= best[count - 1]:
                continue
            place = size if size < count else count - 1
            size = min(size + 1, count)
            while place > 0 and best[place - 1] < score:
                best[place] = best[place - 1]
                chosen[place] = chosen[place - 1]
                place -= 1
            best[place] = score
            chosen[place] = label


@compiled
def peak_of_rank(peaks: Floats, rank: int) -> np.float32:
    """The `rank`-th largest peak; minus infinity if there are fewer peaks.

    At least `rank` labels score as high or higher, because each peak is the score of a label.
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
    lookahead, row_scores = new_lookahead(rows), new_row_scores(stage.bias.size)
    for row in range(out.shape[0]):
        score_row(stage, rows, row, lookahead, row_scores)
        out[row] = row_scores.scores[: out.shape[1]]


@compiled
def _candidates(scores: Scores, out: LabelIds) -> None:
    row_scores = new_row_scores(scores.shape[1])
    for row in range(scores.shape[0]):
        fill_row_scores(scores[row], row_scores)
        choose(row_scores, peak_of_rank(row_scores.peaks, out.shape[1]), out[row])


@compiled
def fill_row_scores(scores: Scores, row_scores: RowScores) -> None:
    """Copy the scores of one entity to `row_scores`, and compute the peaks."""
    row_scores.scores[: scores.size] = scores
    for block in range(row_scores.peaks.size):
        row_scores.peaks[block] = row_scores.scores[block * BLOCK : (block + 1) * BLOCK].max()


@compiled
def _weigh(
    stage: LinearStage,
    features: npt.NDArray[np.int32],
    labels: LabelIds,
    places: npt.NDArray[np.int64],
    out: Floats,
) -> None:
    """Write the weights to `out`, features x labels.

    `places` (int64[labels of the model]) is the position of each label in `labels`, or -1.
    """
    frequent = stage.dense.shape[0]
    for i in range(features.size):
        scale = stage.scales[features[i]]
        if features[i] < frequent:
            for j in range(labels.size):
                out[i, j] = scale * np.float32(stage.dense[features[i], labels[j]])
        else:
            rare = features[i] - frequent
            for k in range(stage.sparse_indptr[rare], stage.sparse_indptr[rare + 1]):
                label, weight = _unpack_weight(stage.sparse[k])
                if places[label] >= 0:
                    out[i, places[label]] = scale * weight
