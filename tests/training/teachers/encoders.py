"""Small encoders for tests, written as real files: an ONNX model and a tokenizer."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

WORDS = ("unknown", "cafe", "bar", "museum", "park", "school", "bank", "hotel")
WIDTH = 16


def vectors_of_words() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """The vectors of WORDS, float32[words, WIDTH]."""
    return np.random.default_rng(0).normal(size=(len(WORDS), WIDTH)).astype(np.float32)


def write_encoder(
    folder: Path,
    *,
    inputs: Sequence[str] = ("input_ids", "attention_mask"),
    kind: int = TensorProto.INT64,
    output: str = "last_hidden_state",
    eight_bit: bool = False,
    vectors: np.ndarray[tuple[int, ...], np.dtype[np.float32]] | None = None,
) -> Path:
    """Write an encoder that looks up the vector of each word, and return its folder.

    With `eight_bit`, the vectors of a batch are rounded to 256 steps between their smallest and
    largest value. The output `sentence_embedding` is the sum of the vectors of a text.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = vectors_of_words() if vectors is None else vectors
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["looked_up"])]
    last = "looked_up"
    if eight_bit:
        nodes += [
            helper.make_node("DynamicQuantizeLinear", [last], ["bytes", "scale", "zero"]),
            helper.make_node("DequantizeLinear", ["bytes", "scale", "zero"], ["rounded"]),
        ]
        last = "rounded"
    if output == "sentence_embedding":
        nodes.append(helper.make_node("ReduceSum", [last, "axis"], [output], keepdims=0))
        shape: list[str | int] = ["batch", WIDTH]
    else:
        nodes.append(helper.make_node("Identity", [last], [output]))
        shape = ["batch", "tokens", WIDTH]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info(name, kind, ["batch", "tokens"]) for name in inputs],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        [
            numpy_helper.from_array(table, "table"),
            numpy_helper.from_array(np.array([1], np.int64), "axis"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(folder / "model.onnx"))
    write_tokenizer(folder / "tokenizer.json")
    return folder


def write_tokenizer(file: Path, words: Sequence[str] = WORDS, most: int | None = None) -> None:
    """Write a tokenizer with one token for each word; it declares at most `most` tokens."""
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=words[0]))
    tokenizer.pre_tokenizer = Whitespace()
    if most is not None:
        tokenizer.enable_truncation(most)
    tokenizer.save(str(file))
