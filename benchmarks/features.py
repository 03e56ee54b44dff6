"""Features of a data set that all peers use: tf-idf rows of unit norm.

The features of a `words` set are its tokens. The features of a text are words, pairs of words, and
n-grams of 3 to 5 characters within words. The features of a place are n-grams of 3 to 5 characters
of its name, and the words of each field.
"""

import argparse
import dataclasses
import json
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize

from benchmarks.contract import TRAIN
from labelwright.entities.schema import load_schema
from labelwright.entities.tables import Entities
from labelwright.models.labels import LabelSet, label_set
from labelwright.training.data import LabelledEntities, read_labelled

PHONE_PREFIX = 6
"""Number of first characters of a phone number, without spaces, that show the region."""
_TOKEN = re.compile(r"\S+").pattern
_WORD = re.compile(r"\w+|[^\w\s]").pattern


@dataclasses.dataclass(frozen=True)
class _Block:
    """A vectorizer and the column of text that it reads."""

    column: str
    vectorizer: Any


def _blocks(schema: str) -> list[_Block]:
    settings: dict[str, Any] = {"sublinear_tf": True, "dtype": np.float32}
    tokens = {"token_pattern": _TOKEN, "lowercase": False}
    if schema == "words":
        return [_Block("text", TfidfVectorizer(**tokens, **settings))]
    letters = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), min_df=3, **settings)
    if schema == "text":
        words = TfidfVectorizer(token_pattern=_WORD, ngram_range=(1, 2), **settings)
        return [_Block("text", words), _Block("text", letters)]
    words = TfidfVectorizer(min_df=2, **tokens, **settings)
    return [_Block("line", words), _Block("name", letters)]


def prepare(
    name: str, schema: str, train: Path, tests: Mapping[str, Path], folder: Path
) -> Mapping[str, Any]:
    """Write the prepared folder of a set (see `benchmarks.contract`); returns set.json."""
    parts = {
        part: read_labelled([file], load_schema(schema))
        for part, file in {TRAIN: train, **tests}.items()
    }
    labels = label_set(parts[TRAIN].labels)
    blocks = _blocks(schema)
    seconds: dict[str, float] = {}
    columns, nonzeros = 0, 0.0
    for part, data in parts.items():
        started = time.perf_counter()
        texts = columns_of(data.entities)
        rows = _vectorized(blocks, texts, fit=part == TRAIN)
        seconds[part] = time.perf_counter() - started
        scipy.sparse.save_npz(folder / f"{part}.features.npz", rows, compressed=False)
        (folder / f"{part}.txt").write_text(_lines(texts), "utf-8")
        _save_labels(folder / f"{part}.labels.npz", data, labels)
        if part == TRAIN:
            columns, nonzeros = rows.shape[1], rows.nnz / rows.shape[0]
    (folder / "labels.json").write_text(json.dumps(labels.names), "utf-8")
    description = {
        "name": name,
        "schema": schema,
        "train": str(train),
        "tests": {part: str(file) for part, file in tests.items()},
        "rows": {part: len(data) for part, data in parts.items()},
        "labels": len(labels),
        "features": columns,
        "nonzeros": nonzeros,
        "seconds": seconds,
    }
    (folder / "set.json").write_text(json.dumps(description), "utf-8")
    return description


def columns_of(entities: Entities) -> Mapping[str, list[str]]:
    """The text columns of a set: `text`, or `name` and `line` of places.

    `line` has the words of the name, and the words of other fields as `field=word`. Peers that read
    text read `line`, or `text` if there is no `line`.
    """
    if entities.schema.name != "places":
        return {"text": _texts(entities, "text")}
    names = _texts(entities, "name")
    fields = [
        [" ".join(f"{field}={word}" for word in _words(text)) for text in _texts(entities, field)]
        for field in ("address", "city", "region", "postcode", "country")
    ]
    fields.append([f"phone={_prefix(text)}" if text else "" for text in _texts(entities, "phone")])
    fields.append([f"web={_domain(text)}" if text else "" for text in _texts(entities, "website")])
    lines = [
        " ".join(part for part in (*_words(name), *rest) if part)
        for name, *rest in zip(names, *fields, strict=True)
    ]
    return {"name": names, "line": lines}


def _vectorized(
    blocks: Iterable[_Block], texts: Mapping[str, list[str]], fit: bool
) -> scipy.sparse.csr_matrix:
    parts = [
        (block.vectorizer.fit_transform if fit else block.vectorizer.transform)(texts[block.column])
        for block in blocks
    ]
    rows = scipy.sparse.csr_matrix(normalize(scipy.sparse.hstack(parts, format="csr")))
    rows.sort_indices()
    return rows


def _texts(entities: Entities, field: str) -> list[str]:
    column = entities.column(field)
    if column is None:
        return [""] * len(entities)
    return [" ".join((text or "").split()) for text in column.to_pylist()]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _prefix(phone: str) -> str:
    return re.sub(r"[^\d+]", "", phone)[:PHONE_PREFIX]


def _domain(address: str) -> str:
    host = re.sub(r"^\w+://", "", address.lower()).split("/")[0]
    return host.removeprefix("www.")


def _lines(texts: Mapping[str, list[str]]) -> str:
    lines = texts["line"] if "line" in texts else [_spaced(text) for text in texts["text"]]
    return "".join(line + "\n" for line in lines)


def _spaced(text: str) -> str:
    """Lower case with spaces around punctuation, as in the tutorial of fastText."""
    return " ".join(re.findall(_WORD, text.lower()))


def _save_labels(file: Path, data: LabelledEntities, labels: LabelSet) -> None:
    matrix = data.matrix(labels)
    foreign: npt.NDArray[np.int64] = matrix.foreign
    np.savez(file, indptr=matrix.present.indptr, ids=matrix.present.ids, foreign=foreign)


def main() -> None:
    """Prepare one set. This is a separate process, because its memory is free when it ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", help="the arguments of prepare(), as JSON")
    task = json.loads(parser.parse_args().task)
    prepare(
        task["name"],
        task["schema"],
        Path(task["train"]),
        {part: Path(file) for part, file in task["tests"].items()},
        Path(task["folder"]),
    )


if __name__ == "__main__":
    main()
