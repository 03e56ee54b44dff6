"""Label books: files, checks, and the texts from which a model learns."""

from pathlib import Path

import pytest

from labelwright.entities.errors import DataError
from labelwright.entities.io.label_books import load_book, toml_of
from labelwright.entities.label_book import LabelBook
from labelwright.entities.schema import load_schema

TOML = """
[labels."shop=bakery"]
title = { en = "Bakery", de = "Bäckerei" }
synonyms = { de = ["Backstube", "bäckerei"] }
seeds = ["bread \\"rolls\\""]
implies = ["type=shop"]
replaces = ["bakery", "baker"]

[labels."type=shop"]
title = "Shop"

[labels.old]
retired = true
"""
CSV = """label,title,title:de,synonyms:de,seeds,implies,replaces,retired
shop=bakery,,Bäckerei,Backstube|bäckerei,,type=shop,bakery|baker,
type=shop,Shop,,,,,,no
old,,,,,,,yes
"""


def written(folder: Path, content: str, name: str = "book.toml") -> str:
    path = folder / name
    path.write_text(content, "utf-8")
    return str(path)


def test_toml_and_csv_have_the_same_meaning(tmp_path: Path) -> None:
    book = load_book(written(tmp_path, TOML))
    cells = load_book(written(tmp_path, CSV, "book.csv"))
    for each in (book, cells):
        assert each.implies == {"shop=bakery": ("type=shop",)}
        targets = {"bakery": "shop=bakery", "baker": "shop=bakery", "old": ""}
        assert each.redirects.targets == targets
        assert each.taught == ["shop=bakery", "type=shop"]
    assert book.entries["type=shop"] == cells.entries["type=shop"]
    assert book.languages == ["de", "en", "und"]


def test_a_book_that_is_written_as_toml_is_read_again(tmp_path: Path) -> None:
    for book in (load_book(written(tmp_path, TOML)), load_book("osm")):
        again = load_book(written(tmp_path, toml_of(book), "again.toml"))
        assert again.entries.keys() == book.entries.keys()
        assert again.entries["shop=bakery"].titles == book.entries["shop=bakery"].titles
    assert LabelBook.from_mapping(again.to_mapping()) == again


def test_a_text_has_its_label_and_the_implied_labels_once(tmp_path: Path) -> None:
    texts = load_book(written(tmp_path, TOML)).texts()
    assert texts["Backstube"] == ["shop=bakery", "type=shop"]
    assert texts["Shop"] == ["type=shop"]
    assert [text.casefold() for text in texts].count("bäckerei") == 1


def test_a_schema_gets_the_implications_and_redirects(tmp_path: Path) -> None:
    schema = load_book(written(tmp_path, TOML)).extend(load_schema("places"))
    assert schema.implies["shop=bakery"] == ("type=shop",)
    assert schema.redirects.current("baker") == "shop=bakery"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[labels.a]\ntitle='x'\n[labels.a]\ntitle='y'\n", "line 3"),
        ('[labels."a b"]\n[labels."a  b"]\n', "line 2: the label is also in line 1"),
        ("[labels.a]\nimplies=['b']\n\n[labels.b]\nimplies=['a']\n", "'implies' form a cycle"),
        ("[labels.a]\nreplaces=['b']\n[labels.b]\nreplaces=['a']\n", "'replaces' form a cycle"),
        ("[labels.a]\nreplaces=['b']\n[labels.c]\nreplaces=['b']\n", "line 3: a label in"),
        ("[labels.a]\ntitle={xx='x'}\n", "line 1: 'title' has an unknown language code"),
        ("[labels.a]\ntitle={en=' '}\n", "line 1: 'title' is empty"),
        ("[labels.a]\nsynonyms=['b', '']\n", "line 1: 'synonyms' is empty"),
        ("[labels.a]\ntitel='x'\n", "line 1: unknown key 'titel'; the keys are title"),
        ("[labels.a]\nseeds='x'\n", "line 1: 'seeds' must be a list"),
        ("[labels.a]\nretired='x'\n", "line 1: 'retired' must be true or false"),
        ("[labels]\na=3\n", "entry 1: the entry is not a table"),
        ("[label.a]\n", "unknown table or key 'label'"),
        ("[labels.a\n", "not valid TOML"),
        ("", "has no labels"),
    ],
)
def test_errors_of_toml_name_the_line(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataError, match=r"label book .*book.toml") as found:
        load_book(written(tmp_path, content))
    assert message in str(found.value)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("label,title\na,x\n\na,y\n", "row 4: the label is also in row 2"),
        ("label,title\n,x\n", "row 2: the label is empty"),
        ("label,title:xx\na,x\n", "row 1: 'title' has an unknown language code"),
        ("label,titel\na,x\n", "row 1 has an unknown column 'titel'; the columns are label"),
        ("label,title,title\na,x,y\n", "row 1 has the column 'title' twice"),
        ("title\nx\n", "row 1 has no column 'label'"),
        ("label,title\na\n", "row 2 has 1 cells, but the header has 2 columns"),
        ("label,title\na, \n", "row 2: 'title' is empty"),
        ("label,retired\na,perhaps\n", "row 2: 'retired' must be yes, no or empty"),
        ("label,implies\na,b\nb,c\nc,a\n", "row 2: the labels in 'implies' form a cycle"),
        ('label,title\na,"x\n', "not valid CSV"),
    ],
)
def test_errors_of_csv_name_the_row(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataError, match=r"label book .*book.csv") as found:
        load_book(written(tmp_path, content, "book.csv"))
    assert message in str(found.value)


def test_unknown_books_and_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="built-in books: osm"):
        load_book("cities")
    with pytest.raises(DataError, match="cannot be read"):
        load_book(str(tmp_path / "missing.toml"))
    (tmp_path / "latin.csv").write_bytes("label,title\na,é\n".encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8"):
        load_book(str(tmp_path / "latin.csv"))


def test_a_long_chain_of_implications_is_checked() -> None:
    content = {str(n): {"implies": [str(n + 1)]} for n in range(20_000)}
    assert len(LabelBook.from_mapping(content)) == 20_000
