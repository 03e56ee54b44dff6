"""A pipeline of scikit-learn for comparison: hashed character n-grams and a linear model.

The weights come from a model of this project, so the pipeline and the model have the same numbers
of features and labels. They are in single precision and in a dense matrix, as in scikit-learn. The
features are hashed n-grams, not the features of the model. Therefore the labels are meaningless,
and only the speed is compared.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.utils.extmath import safe_sparse_dot

from labelwright.entities.arrays import is_text
from labelwright.models.bundle.format import read_bundle
from labelwright.models.labeler import Labeler
from labelwright.models.stages.linear import LinearStage, unpack_weights

PIPELINE = "scikit-learn, hashed character n-grams and a linear model"
TOP_K = 5
BATCH = 4_096


class Pipeline:
    """Labels texts with the weights of a labeler."""

    def __init__(self, labeler: Labeler) -> None:
        self.weights, self._bias = as_weights(labeler.linear).toarray(), labeler.linear.bias
        self._names = labeler.labels.array
        self._vectorizer = HashingVectorizer(
            analyzer="char_wb",
            ngram_range=(3, 5),
            n_features=self.weights.shape[0],
            dtype=np.float32,
        )

    def transform(self, texts: Sequence[str]) -> Any:
        """The sparse features of texts."""
        return self._vectorizer.transform(texts)

    def label(self, texts: Sequence[str]) -> pa.ListArray:
        """The TOP_K best labels of each text with their scores, in descending order."""
        scores = safe_sparse_dot(self.transform(texts), self.weights) + self._bias
        top_k = min(TOP_K, len(self._bias))
        top = np.argpartition(-scores, top_k - 1, axis=1)[:, :top_k]
        order = np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1, kind="stable")
        best = np.take_along_axis(top, order, axis=1)
        values = np.take_along_axis(scores, best, axis=1)
        columns = [self._names.take(pa.array(best.ravel())), pa.array(values.ravel())]
        bounds: npt.NDArray[np.int32] = np.arange(len(texts) + 1, dtype=np.int32) * top_k
        structs = pa.StructArray.from_arrays(columns, names=["label", "score"])
        return pa.ListArray.from_arrays(pa.array(bounds), structs)

    def label_file(self, input_: Path, output: Path) -> None:
        """Label all rows of a Parquet file, and write the labels to another Parquet file."""
        writer: pq.ParquetWriter | None = None
        for batch in pq.ParquetFile(input_).iter_batches(BATCH):
            table = pa.table(batch)
            columns = [table["id"], self.label(as_texts(table))]
            predictions = pa.table(columns, names=["id", "labels"])
            writer = writer or pq.ParquetWriter(output, predictions.schema, compression="zstd")
            writer.write_table(predictions)
        if writer is not None:
            writer.close()


def as_weights(stage: LinearStage) -> Any:
    """The weights of a linear stage as a sparse matrix of floats, features x labels."""
    labels = len(stage.bias)
    shape = (len(stage.sparse_indptr) - 1, labels)
    ids, weights = unpack_weights(stage.sparse)
    content = weights.astype(np.float32), ids, stage.sparse_indptr
    sparse = scipy.sparse.csr_array(content, shape=shape)
    dense = scipy.sparse.csr_array(np.asarray(stage.dense[:, :labels]).astype(np.float32))
    whole = scipy.sparse.vstack([dense, sparse], format="csr")
    return scipy.sparse.diags_array(stage.scales).tocsr() @ whole


def as_texts(table: pa.Table) -> list[str]:
    """For each row, the values of all text columns except the id, joined by spaces."""
    fields = [field for field in table.schema if field.name != "id" and is_text(field.type)]
    columns = [table[field.name].to_pylist() for field in fields]
    return [" ".join(value for value in row if value) for row in zip(*columns, strict=True)]


def main() -> None:
    """Label the file INPUT with the weights of BUNDLE, and write OUTPUT."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("bundle", "input", "output"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    Pipeline(read_bundle(given.bundle).labeler).label_file(given.input, given.output)


if __name__ == "__main__":
    main()
