"""The linear stage: a score for every label, and from the scores a few candidates.

Weights are 8-bit integers with one scale for each feature. The most frequent features have a dense
row of weights, where nearly all of the work is; the others, whose rows are nearly empty, a sparse
one.
"""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from models.compiled import compiled
from models.features import FeatureRows

DENSE_BYTES = 96 << 20
"""How much the dense rows may take."""
PRUNED_BELOW = 0.02
"""Weights of sparse rows that are smaller are dropped; measured to cost nothing."""

Scores = npt.NDArray[np.float32]
LabelIds = npt.NDArray[np.int32]


@dataclasses.dataclass(frozen=True)
class LinearStage:
    """One linear classifier for each label.

    bias float32[labels]; scales float32[features]; dense int8[dense features, labels];
    sparse rows: indptr int64[features - dense features + 1], ids uint16 or uint32, weights int8.
    """

    bias: npt.NDArray[np.float32]
    scales: npt.NDArray[np.float32]
    dense: npt.NDArray[np.int8]
    sparse_indptr: npt.NDArray[np.int64]
    sparse_ids: npt.NDArray[np.unsignedinteger[Any]]
    sparse_weights: npt.NDArray[np.int8]

    def scores(self, rows: FeatureRows) -> Scores:
        """Scores of all labels, n x labels: signed distances where 1 is the margin of a label."""
        out = np.empty((len(rows.indptr) - 1, len(self.bias)), np.float32)
        _score(
            rows.indptr,
            rows.indices,
            rows.values,
            self.bias,
            self.scales,
            self.dense,
            self.sparse_indptr,
            self.sparse_ids,
            self.sparse_weights,
            out,
        )
        return out

    def weights(self, features: npt.NDArray[np.int32], labels: LabelIds) -> npt.NDArray[np.float32]:
        """The weights of some features for some distinct labels, features x labels."""
        out = np.zeros((len(features), len(labels)), np.float32)
        places = np.full(len(self.bias), -1, np.int64)
        places[labels] = np.arange(len(labels))
        _weigh(
            features,
            labels,
            places,
            self.scales,
            self.dense,
            self.sparse_indptr,
            self.sparse_ids,
            self.sparse_weights,
            out,
        )
        return out


def candidates(scores: Scores, count: int) -> LabelIds:
    """The ids of the `count` best labels of each row, best first, n x count; ties by id."""
    out = np.empty((scores.shape[0], min(count, scores.shape[1])), np.int32)
    _top(scores, out)
    return out


@compiled
def _score(
    indptr: npt.NDArray[np.int64],
    indices: npt.NDArray[np.int32],
    values: npt.NDArray[np.float32],
    bias: npt.NDArray[np.float32],
    scales: npt.NDArray[np.float32],
    dense: npt.NDArray[np.int8],
    sparse_indptr: npt.NDArray[np.int64],
    sparse_ids: npt.NDArray[np.unsignedinteger[Any]],
    sparse_weights: npt.NDArray[np.int8],
    out: Scores,
) -> None:
    labels = bias.size
    frequent = dense.shape[0]
    for row in range(indptr.size - 1):
        total = out[row]
        for label in range(labels):
            total[label] = bias[label]
        for i in range(indptr[row], indptr[row + 1]):
            feature = indices[i]
            value = values[i] * scales[feature]
            if feature < frequent:
                weights = dense[feature]
                for label in range(labels):
                    total[label] += value * np.float32(weights[label])
            else:
                rare = feature - frequent
                for j in range(sparse_indptr[rare], sparse_indptr[rare + 1]):
                    total[sparse_ids[j]] += value * np.float32(sparse_weights[j])


@compiled
def _weigh(
    features: npt.NDArray[np.int32],
    labels: LabelIds,
    places: npt.NDArray[np.int64],
    scales: npt.NDArray[np.float32],
    dense: npt.NDArray[np.int8],
    sparse_indptr: npt.NDArray[np.int64],
    sparse_ids: npt.NDArray[np.unsignedinteger[Any]],
    sparse_weights: npt.NDArray[np.int8],
    out: npt.NDArray[np.float32],
) -> None:
    """`places` holds the position of each label in `labels`, or -1."""
    frequent = dense.shape[0]
    for i in range(features.size):
        scale = scales[features[i]]
        if features[i] < frequent:
            for j in range(labels.size):
                out[i, j] = scale * np.float32(dense[features[i], labels[j]])
        else:
            rare = features[i] - frequent
            for k in range(sparse_indptr[rare], sparse_indptr[rare + 1]):
                place = places[sparse_ids[k]]
                if place >= 0:
                    out[i, place] = scale * np.float32(sparse_weights[k])


@compiled
def _top(scores: Scores, out: LabelIds) -> None:
    """Insertion into a short sorted list; blocks whose maximum is too small are skipped."""
    labels = scores.shape[1]
    count = out.shape[1]
    best = np.empty(count, np.float32)
    for row in range(scores.shape[0]):
        line = scores[row]
        held = 0
        for start in range(0, labels, 64):
            end = min(start + 64, labels)
            if held == count:
                peak = line[start]
                for label in range(start, end):
                    peak = max(peak, line[label])
                if peak <= best[count - 1]:
                    continue
            for label in range(start, end):
                score = line[label]
                if held == count and score <= best[count - 1]:
                    continue
                place = held if held < count else count - 1
                held = min(held + 1, count)
                while place > 0 and best[place - 1] < score:
                    best[place] = best[place - 1]
                    out[row, place] = out[row, place - 1]
                    place -= 1
                best[place] = score
                out[row, place] = label
