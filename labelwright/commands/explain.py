"""Explain the labels of the first rows of a file, or of one entity.

Each label has a list of reasons. Each reason has a weight, which raises or lowers the log-odds of
the label; the weights sum to the log-odds before calibration. A reason is a part of the input, or
one of these: `company`, the co-occurrence with other likely labels; `namesakes`, the training
entities of the same name; `frequency`, the frequency of the label in the training data;
`competition`, the rank of the label's score among the scores of all labels; `rest`, the sum of all
reasons that are too small to list.
"""

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from labelwright.commands import options
from labelwright.entities.label_book import words_of

if TYPE_CHECKING:
    from labelwright.entities.label_book import LabelBook
    from labelwright.entities.schema import EntitySchema
    from labelwright.entities.tables import Entities
    from labelwright.entities.taxonomy import Taxonomy
    from labelwright.service.protocols.results import Reason, Result


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    entities = parser.add_mutually_exclusive_group(required=True)
    entities.add_argument(
        "input", metavar="INPUT", nargs="?", help="Parquet, CSV, JSON Lines or GeoJSON"
    )
    entities.add_argument("--entity", metavar="JSON", help="one entity as a JSON object")
    options.add_map(parser)
    options.add_model(parser, required=True)
    parser.add_argument(
        "--label",
        metavar="LABEL",
        help="explain this label, even if it is improbable; a pattern with * and ? matches several",
    )
    parser.add_argument(
        "--top-k",
        type=options.positive,
        default=5,
        metavar="K",
        help="explain the K most probable labels and every asserted label (default: 5)",
    )
    parser.add_argument(
        "--policy", default="balanced", metavar="NAME", help="balanced (default), broad or precise"
    )
    parser.add_argument(
        "--rows",
        type=options.positive,
        default=5,
        metavar="N",
        help="explain the first N rows of INPUT (default: 5)",
    )
    parser.add_argument(
        "--lang",
        metavar="LANGUAGE",
        help="also print the titles of labels in this language: de, pt-BR",
    )
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Explain the entities and print the reasons."""
    import orjson

    from labelwright.entities.taxonomy import Taxonomy, taxonomy_of
    from labelwright.models.decisions import LabelQuery
    from labelwright.models.explain.reasons import explain
    from labelwright.models.registry import load_model
    from labelwright.service.protocols.results import explained_results

    only = () if arguments.label is None else (arguments.label,)
    query = LabelQuery(arguments.top_k, arguments.policy, only=only)
    labeler = load_model(arguments.model).bundle.labeler
    book = labeler.book
    taxonomy = taxonomy_of(book, arguments.lang) if arguments.lang else Taxonomy()
    results: list[Result] = []
    for entities in _read_entities(arguments, labeler.schema):
        options.warn(entities.warnings)
        found = explained_results(entities, explain(labeler, entities, query))
        for result in found:
            _print(result, taxonomy, book)
        results += found
    if arguments.json:
        print(orjson.dumps({"results": results}, option=orjson.OPT_SERIALIZE_NUMPY).decode())


def _read_entities(arguments: argparse.Namespace, schema: "EntitySchema") -> Iterator["Entities"]:
    if arguments.entity is not None:
        yield _single_entity(arguments.entity, schema)
    else:
        yield from _first_rows(arguments, schema)


def _single_entity(text: str, schema: "EntitySchema") -> "Entities":
    """Parse the entity of `--entity`; raises DataError."""
    import json

    from labelwright.entities.errors import DataError
    from labelwright.entities.json_text import parse_json
    from labelwright.entities.tables import from_records

    try:
        entities = from_records([parse_json(text)], schema)
    except json.JSONDecodeError:
        raise DataError(
            '--entity is not valid JSON; expected an object like {"name": "Joe\'s Pizza"}'
        ) from None
    if entities.rejected:
        raise DataError(f"--entity: {entities.rejected[0]}")
    return entities


def _first_rows(arguments: argparse.Namespace, schema: "EntitySchema") -> Iterator["Entities"]:
    """Read the first rows of a file, including rejected rows with their reasons."""
    from labelwright.entities.io.readers import read_batches
    from labelwright.entities.tables import Entities

    rows, columns = arguments.rows, options.column_names(arguments)
    for batch in read_batches(arguments.input, schema, labelled=False, columns=columns):
        read = batch.entities
        rejected = {row: reason for row, reason in read.rejected.items() if row < rows}
        yield Entities(schema, read.table.slice(0, rows), rejected, read.warnings)
        rows -= len(read)
        if rows <= 0:
            break


def _print(result: "Result", taxonomy: "Taxonomy", book: "LabelBook") -> None:
    print(options.printable(result["id"]))
    if "error" in result:
        print(f"  rejected: {result['error']['detail']}")
    for label in result.get("labels", ()):
        asserted = ", asserted" if label["asserted"] else ""
        title = f" ({title})" if (title := taxonomy.title(label["label"])) else ""
        print(f"  {label['label']}{title}  probability {label['probability']:.3f}{asserted}")
        words = book.words_of(label["label"])
        for reason in label["reasons"]:
            print(f"    {reason['weight']:+7.3f}  {_described(reason, words)}")
        print(f"    {label['log_odds']:+7.3f}  log-odds before calibration")


def _described(reason: "Reason", words: frozenset[str]) -> str:
    """The reason as text; `words` are those of the label's entry in the label book."""
    if reason["about"] == "field":
        known = " (also in the label book)" if words_of(reason["text"]) & words else ""
        return f'{reason["field"]} "{options.printable(reason["text"])}"{known}'
    return f"{reason['about']} of {reason['label']}" if "label" in reason else reason["about"]
