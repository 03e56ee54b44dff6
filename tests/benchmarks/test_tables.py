"""Tables in Markdown: best figures, notes, and facts about the machine."""

from benchmarks.tables import Column, Line, machine, markdown

COLUMNS = (Column("P@1", 1, max), Column("seconds", 0, min), Column("rows"))


def _cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()]


def test_the_best_figure_of_each_column_is_bold_in_its_group() -> None:
    lines = [
        Line("a", "ours", {"P@1": 60.02, "seconds": 9, "rows": 5}),
        Line("a", "theirs", {"P@1": 59.0, "seconds": 1_200, "rows": 7}),
        Line("b", "ours", {"P@1": 10.0, "seconds": 9, "rows": 1}),
        Line("b", "theirs", {"P@1": 20.0, "seconds": 3, "rows": 1}),
    ]
    assert _cells(markdown(("set", "peer"), COLUMNS, lines))[2:] == [
        ["a", "ours", "**60.0**", "**9**", "5"],
        ["a", "theirs", "59.0", "1,200", "7"],
        ["b", "ours", "10.0", "9", "1"],
        ["b", "theirs", "**20.0**", "**3**", "1"],
    ]


def test_all_best_figures_with_equal_printed_forms_are_marked() -> None:
    lines = [Line("a", name, {"P@1": value}) for name, value in (("x", 1.01), ("y", 1.02))]
    assert markdown(("set", "peer"), COLUMNS[:1], lines).count("**1.0**") == 2


def test_a_line_without_figures_has_its_note() -> None:
    lines = [
        Line("a", "x", {}, "not finished in 15 minutes"),
        Line("a", "y", {"P@1": None, "seconds": 4}),
        Line("a", "z", {"P@1": 2.0, "seconds": 5}),
    ]
    cells = _cells(markdown(("set", "peer"), COLUMNS, lines))
    assert cells[2] == ["a", "x", "not finished in 15 minutes", "", ""]
    assert cells[3][2:4] == ["-", "**4**"]
    assert cells[4][2:4] == ["2.0", "5"]


def test_the_facts_describe_the_machine() -> None:
    assert {"date", "processor", "memory", "Python", "commit"} <= set(machine())
