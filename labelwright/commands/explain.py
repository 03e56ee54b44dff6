"""Say why: what raised and lowered the labels of the first rows of a file, or of one entity.

The reasons of a label sum to its log-odds before calibration. A reason is a part of the input; the
company of other labels; its namesakes, the training entities of the same name; the frequency of the
label; the competition among the scores of all labels; or the rest, which is too small to be told.
"""

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from labelwright.commands import options

if TYPE_CHECKING:
    from labelwright.entities.schema import EntitySchema
    from labelwright.entities.tables import Entities
    from labelwright.entities.taxonomy import Taxonomy


def configure(parser: argparse.ArgumentParser) -> None:
    """State the options."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("input", metavar="INPUT", nargs="?")
    source.add_argument("--entity", metavar="JSON", help="one entity as a JSON object")
    options.add_map(parser)
    options.add_model(parser, required=True)
    parser.add_argument(
        "--label",
        metavar="LABEL",
        help="explain this label, however improbable (a pattern with * and ? names several)",
    )
    parser.add_argument(
        "--top-k",
        type=options.positive,
        default=5,
        metavar="K",
        help="explain the K most probable labels, beside every asserted one (default: 5)",
    )
    parser.add_argument("--policy", default="balanced", metavar="NAME", help="default: balanced")
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
        help="also print what OpenStreetMap's labels are called in a language: de, pt-BR",
    )
    options.add_json(parser)


def run(given: argparse.Namespace) -> None:
    """Explain and print."""
    import orjson

    from labelwright.entities.taxonomy import Taxonomy, osm_taxonomy
    from labelwright.models.decisions import LabelQuery
    from labelwright.models.explain.reasons import explain
    from labelwright.models.registry import load_model
    from labelwright.service.protocols.label_messages import explained_results

    taxonomy = osm_taxonomy(given.lang) if given.lang else Taxonomy()
    only = () if given.label is None else (given.label,)
    query = LabelQuery(given.top_k, given.policy, only=only)
    labeler = load_model(given.model).bundle.labeler
    results: list[dict[str, Any]] = []
    for entities in _asked_for(given, labeler.schema):
        options.warn(entities.warnings)
        found = explained_results(entities, explain(labeler, entities, query))
        for result in found:
            _print(result, taxonomy)
        results += found
    if given.json:
        print(orjson.dumps({"results": results}, option=orjson.OPT_SERIALIZE_NUMPY).decode())


def _asked_for(given: argparse.Namespace, schema: "EntitySchema") -> Iterator["Entities"]:
    if given.entity is not None:
        yield _one(given.entity, schema)
    else:
        yield from _first_rows(given, schema)


def _one(text: str, schema: "EntitySchema") -> "Entities":
    """The entity of the command line; raises DataError."""
    import orjson

    from labelwright.entities.errors import DataError
    from labelwright.entities.tables import from_records

    try:
        entities = from_records([orjson.loads(text)], schema)
    except orjson.JSONDecodeError:
        raise DataError("--entity is not valid JSON") from None
    if entities.rejected:
        raise DataError(f"--entity: {entities.rejected[0]}")
    return entities


def _first_rows(given: argparse.Namespace, schema: "EntitySchema") -> Iterator["Entities"]:
    """The first rows of a file, with the reasons for those that are rejected."""
    from labelwright.entities.io.readers import read_batches
    from labelwright.entities.tables import Entities

    rows, columns = given.rows, options.column_names(given)
    for batch in read_batches(given.input, schema, labelled=False, columns=columns):
        read = batch.entities
        rejected = {row: reason for row, reason in read.rejected.items() if row < rows}
        yield Entities(schema, read.table.slice(0, rows), rejected, read.warnings)
        rows -= len(read)
        if rows <= 0:
            break


def _print(result: dict[str, Any], taxonomy: "Taxonomy") -> None:
    print(_printable(result["id"]))
    if "error" in result:
        print(f"  rejected: {result['error']['detail']}")
    for label in result.get("labels", ()):
        asserted = ", asserted" if label["asserted"] else ""
        title = f" ({title})" if (title := taxonomy.title(label["label"])) else ""
        print(f"  {label['label']}{title}  probability {label['probability']:.3f}{asserted}")
        for reason in label["reasons"]:
            print(f"    {reason['weight']:+7.3f}  {_words(reason)}")
        print(f"    {label['log_odds']:+7.3f}  log-odds before calibration")


def _words(reason: dict[str, Any]) -> str:
    if reason["about"] == "field":
        return f'{reason["field"]} "{_printable(reason["text"])}"'
    return " of ".join(reason[part] for part in ("about", "label") if part in reason)


def _printable(text: str) -> str:
    """The caller's text without what a terminal would obey."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
