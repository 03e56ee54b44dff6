"""Check a label book, print its labels, or convert it to TOML; export the label book of a model.

A label book has for each label its titles and synonyms by language, a description, seed words, the
labels that it implies, and the old labels that it replaces. Give it to `labelwright train` with
--label-book.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from labelwright.commands import options
from labelwright.entities.errors import StorageError, reason

if TYPE_CHECKING:
    from labelwright.entities.label_book import LabelBook


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    books = parser.add_mutually_exclusive_group(required=True)
    books.add_argument(
        "book",
        nargs="?",
        metavar="BOOK",
        help="TOML or CSV, the built-in book osm, Overture's overture_categories.csv, or a SKOS "
        "vocabulary in RDF/XML (.rdf, .xml)",
    )
    books.add_argument(
        "--from",
        dest="model",
        metavar="MODEL_URI",
        help="the labels of this model, with its titles, implications and replacements",
    )
    parser.add_argument(
        "--lang",
        default="en",
        metavar="LANGUAGE",
        help="print titles in this language: de, pt-BR (default: en)",
    )
    parser.add_argument(
        "--rows",
        type=options.positive,
        default=20,
        metavar="N",
        help="print the first N labels (default: 20)",
    )
    parser.add_argument("--out", type=Path, metavar="FILE.toml", help="write the book as TOML")


def run(arguments: argparse.Namespace) -> None:
    """Check the book, then print or write it."""
    from labelwright.entities.importers.label_books import read_book
    from labelwright.entities.io.label_books import toml_of

    book = _book_of_model(arguments.model) if arguments.model else read_book(arguments.book)
    if arguments.out is None:
        _print(book, arguments.lang, arguments.rows)
        return
    try:
        arguments.out.write_text(toml_of(book), "utf-8")
    except OSError as error:
        raise StorageError(f"{arguments.out} cannot be written: {reason(error)}") from error
    print(f"{len(book):,} labels -> {arguments.out}")


def _book_of_model(uri: str) -> "LabelBook":
    from labelwright.entities.io.label_books import book_of_model
    from labelwright.models.registry import load_model

    labeler = load_model(uri).bundle.labeler
    return book_of_model(labeler.labels.names, labeler.book, labeler.schema)


def _print(book: "LabelBook", language: str, rows: int) -> None:
    for label, entry in list(book.entries.items())[:rows]:
        title = entry.title(language)
        about = [f"{len(entry.texts)} texts"]
        about += [f"implies {', '.join(entry.implies)}"] if entry.implies else []
        about += [f"replaces {', '.join(entry.replaces)}"] if entry.replaces else []
        about += ["retired"] if entry.retired else []
        print(options.printable(f"{label}{f' ({title})' if title else ''}  {'; '.join(about)}"))
    if len(book) > rows:
        print(f"... and {len(book) - rows:,} more")
    languages = len(book.languages)
    texts = len(book.texts())
    print(f"{len(book):,} labels, {texts:,} different texts, {languages} languages")
