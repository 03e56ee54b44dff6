"""Entity schemas: built-in schemas, users' schemas in files, and invalid schemas."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.entities.errors import DataError, SchemaError
from labelwright.entities.label_groups import LabelGroup, Role, group_numbers
from labelwright.entities.schema import BUILT_IN, RESERVED, Column, EntitySchema, Kind, load_schema

some = settings(max_examples=50, deadline=None)

TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
NAMES = TEXTS.filter(lambda name: name != "" and name not in RESERVED)
EXAMPLES = st.none() | TEXTS | st.floats(allow_nan=False)


@st.composite
def schemas(draw: st.DrawFn) -> EntitySchema:
    """Any valid schema."""
    names = iter(draw(st.lists(NAMES, min_size=12, max_size=12, unique=True)))
    columns = []
    for kind in draw(st.lists(st.sampled_from(Kind), min_size=1, max_size=4)):
        name = next(names)
        fields = (next(names), next(names)) if kind is Kind.POINT else ()
        about, example, grams = draw(TEXTS), draw(EXAMPLES), draw(st.booleans())
        columns.append(Column(name, kind, about, example, grams, fields))
    return EntitySchema(draw(TEXTS), tuple(columns))


def one_column(**options: Any) -> dict[str, Any]:
    """The mapping of a schema with the column `a`."""
    return {"name": "mine", "columns": {"a": options}}


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_schema_is_loaded_by_its_name(name: str) -> None:
    schema = load_schema(name)
    assert schema.name == name
    assert schema.columns
    assert all(column.about for column in schema.columns)


def test_the_schema_places_has_all_kinds_except_words_and_number() -> None:
    kinds = {column.kind for column in load_schema("places").columns}
    assert kinds == set(Kind) - {Kind.WORDS, Kind.NUMBER}


def test_the_fields_of_a_point_have_the_position_of_its_column() -> None:
    fields = load_schema("places").fields
    assert fields[fields.index("website") :][:4] == ("website", "lat", "lon", "brand")
    assert "position" not in fields


@some
@given(schemas())
def test_a_schema_is_equal_after_conversion_to_a_mapping_and_back(schema: EntitySchema) -> None:
    assert EntitySchema.from_mapping(schema.to_mapping()) == schema


@some
@given(schemas())
def test_a_schema_is_equal_after_conversion_to_json_and_back(schema: EntitySchema) -> None:
    mapping = json.loads(json.dumps(schema.to_mapping()))
    assert EntitySchema.from_mapping(mapping) == schema


@some
@given(schemas())
def test_the_columns_of_a_schema_keep_their_order(schema: EntitySchema) -> None:
    assert list(schema.to_mapping()["columns"]) == [column.name for column in schema.columns]


def test_a_mapping_leaves_out_default_values() -> None:
    schema = EntitySchema.from_mapping(one_column(kind="text", grams=True, about=""))
    assert schema.to_mapping() == one_column(kind="text")


def test_the_identity_is_the_first_column_of_text_or_words() -> None:
    columns = {"c": {"kind": "category"}, "w": {"kind": "words"}, "t": {"kind": "text"}}
    assert EntitySchema.from_mapping({"name": "x", "columns": columns}).identity == "w"


def test_a_schema_without_text_has_no_identity() -> None:
    assert EntitySchema.from_mapping(one_column(kind="number")).identity is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"columns": {"a": {"kind": "text"}}}, "name"),
        ({"name": "mine"}, "columns"),
        ({"name": "mine", "columns": {}}, "at least one column"),
        ({"name": "mine", "columns": ["a"]}, "not a valid entity schema"),
        ({"name": "mine", "columns": {"a": "text"}}, "column 'a'"),
        ({"name": "mine", "columns": {"a": None}}, "not a valid entity schema"),
        ({"name": "mine", "columns": {"a": {}}}, "kind"),
        ([], "not a valid entity schema"),
        (None, "not a valid entity schema"),
        ("mine", "not a valid entity schema"),
        (one_column(kind="txt"), "'txt' is not a valid Kind"),
        (one_column(kind=7), "[kK]ind"),
        (
            one_column(kind="text", grammes=True, weight=1),
            "'a' has unknown options grammes, weight",
        ),
        (one_column(kind="text", name="b"), "'a' has unknown options name"),
        (one_column(kind="point"), "'a': a point must have two fields"),
        (one_column(kind="point", fields=["lat"]), "'a': a point"),
        (one_column(kind="point", fields=["x", "y", "z"]), "'a': a point"),
        (one_column(kind="text", fields=["x", "y"]), "'a': a point"),
        (one_column(kind="point", fields=5), "not a valid entity schema"),
        (one_column(kind="point", fields=["x", "x"]), "must differ"),
        (
            {
                "name": "mine",
                "columns": {"x": {"kind": "text"}, "p": {"kind": "point", "fields": ["x", "y"]}},
            },
            "must differ",
        ),
    ],
)
def test_an_invalid_schema_is_refused_with_the_reason(content: Any, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        EntitySchema.from_mapping(content)


@pytest.mark.parametrize("name", RESERVED)
def test_a_column_must_not_have_a_reserved_name(name: str) -> None:
    with pytest.raises(SchemaError, match="one another and from id, labels, absent"):
        EntitySchema.from_mapping({"name": "mine", "columns": {name: {"kind": "text"}}})


@pytest.mark.parametrize("name", RESERVED)
def test_the_field_of_a_point_must_not_have_a_reserved_name(name: str) -> None:
    with pytest.raises(SchemaError, match="one another and from id, labels, absent"):
        EntitySchema.from_mapping(one_column(kind="point", fields=[name, "lon"]))


@pytest.mark.parametrize("fields", [["x"], ["x", "y", "z"]])
def test_only_a_point_has_fields(fields: list[str]) -> None:
    with pytest.raises(SchemaError, match="column 'a'"):
        EntitySchema.from_mapping(one_column(kind="text", fields=fields))


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "point", "fields": "xy"},
        {"kind": "point", "fields": [1, 2]},
        {"kind": "point", "fields": [["x"], ["y"]]},
        {"kind": "text", "grams": "no"},
        {"kind": "text", "about": 3},
        {"kind": "text", "example": ["x"]},
    ],
)
def test_an_option_of_a_wrong_type_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(SchemaError, match="column 'a'"):
        EntitySchema.from_mapping(one_column(**options))


@pytest.mark.parametrize("name", ["", "\ud800"])
def test_a_column_needs_a_name_that_is_text(name: str) -> None:
    with pytest.raises(SchemaError):
        EntitySchema.from_mapping({"name": "mine", "columns": {name: {"kind": "text"}}})


def test_a_missing_kind_is_reported_with_the_name_of_the_column() -> None:
    with pytest.raises(SchemaError, match="column 'a'"):
        EntitySchema.from_mapping(one_column(about="What it is."))


def test_a_schema_error_is_a_data_error() -> None:
    with pytest.raises(DataError):
        EntitySchema.from_mapping({})


def test_a_schema_is_loaded_from_a_toml_file(tmp_path: Path) -> None:
    file = tmp_path / "shops.toml"
    file.write_text(
        'name = "shops"\n'
        "[columns.title]\n"
        'kind = "text"\n'
        'about = "Name — 名前."\n'
        "grams = false\n"
        "[columns.area]\n"
        'kind = "number"\n'
        "example = 12.5\n"
        "[columns.where]\n"
        'kind = "point"\n'
        'fields = ["y", "x"]\n',
        "utf-8",
    )
    title = Column("title", Kind.TEXT, "Name — 名前.", None, False)
    area = Column("area", Kind.NUMBER, example=12.5)
    where = Column("where", Kind.POINT, fields=("y", "x"))
    assert load_schema(str(file)) == EntitySchema("shops", (title, area, where))


def test_the_error_for_an_unknown_schema_lists_the_known_schemas() -> None:
    with pytest.raises(SchemaError, match="neither a TOML file nor one of places, text, words"):
        load_schema("place")


@pytest.mark.parametrize(
    "content",
    [b'name = "x', b"name = \xff", b'name = "x"\nname = "y"\n', b'{"name": "x"}'],
    ids=["unfinished", "not UTF-8", "twice", "JSON"],
)
def test_a_file_that_is_not_toml_is_named_in_the_error(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "mine.toml"
    file.write_bytes(content)
    with pytest.raises(SchemaError, match=r"mine\.toml' cannot be read"):
        load_schema(str(file))


def test_a_toml_file_that_is_not_a_schema_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[tool]\nx = 1\n")
    with pytest.raises(SchemaError, match="not a valid entity schema"):
        load_schema(str(file))


@pytest.mark.parametrize("name", ["", ".", "x" * 5_000])
def test_an_invalid_path_is_refused(name: str) -> None:
    with pytest.raises(SchemaError):
        load_schema(name)


def test_a_path_with_a_nul_character_is_refused() -> None:
    with pytest.raises(SchemaError):
        load_schema("places\0.toml")


def test_a_toml_file_that_is_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("a = " + "[" * 5_000)
    with pytest.raises(SchemaError):
        load_schema(str(file))


def test_a_warning_names_the_closest_column() -> None:
    (warning,) = load_schema("places").warnings_for(["name", "id", "labels", "absent", "webstie"])
    assert warning == "column 'webstie' is not in schema 'places'; did you mean 'website'?"


def test_a_warning_without_a_close_column_makes_no_suggestion() -> None:
    (warning,) = load_schema("places").warnings_for(["qqq"])
    assert warning == "column 'qqq' is not in schema 'places'"


def test_each_unknown_column_gives_one_warning_in_order() -> None:
    warnings = load_schema("places").warnings_for(["zzz", "qqq", "zzz"])
    assert [warning.split("'")[1] for warning in warnings] == ["qqq", "zzz"]


@some
@given(st.lists(TEXTS | st.text(max_size=3), max_size=6))
def test_exactly_the_unknown_columns_give_warnings(names: list[str]) -> None:
    schema = load_schema("places")
    unknown = set(names) - set(schema.fields) - set(RESERVED)
    warnings = schema.warnings_for(names)
    assert len(warnings) == len(unknown)
    assert all(any(repr(name) in warning for warning in warnings) for name in unknown - {""})


def test_the_long_name_of_an_unknown_column_is_cut() -> None:
    (warning,) = load_schema("places").warnings_for(["x" * 1_000_000])
    assert len(warning) < 200


def test_the_example_of_a_column_can_be_a_number() -> None:
    schema = EntitySchema.from_mapping(one_column(kind="number", example=0.0))
    example = schema.to_mapping()["columns"]["a"]["example"]
    assert isinstance(example, float)
    assert math.isclose(example, 0.0)


def test_facts_about_labels_are_equal_after_conversion(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(
        """
        name = "own"
        open_world = ["wheelchair", "diet:vegan"]
        [columns.name]
        kind = "text"
        [implies]
        "cuisine=sushi" = ["cuisine=japanese", "amenity=restaurant"]
        """
    )
    schema = load_schema(str(file))
    assert schema.open_world == ("wheelchair", "diet:vegan")
    assert schema.implies == {"cuisine=sushi": ("cuisine=japanese", "amenity=restaurant")}
    again = EntitySchema.from_mapping(json.loads(json.dumps(schema.to_mapping())))
    assert again == schema


@pytest.mark.parametrize(
    "more",
    [
        {"open_world": "wheelchair"},
        {"open_world": [1]},
        {"open_world": None},
        {"implies": ["a"]},
        {"implies": {"a": "b"}},
        {"implies": {"a": [None]}},
        {"implies": {"a": ["\ud800"]}},
        {"open_word": ["wheelchair"]},
    ],
    ids=str,
)
def test_invalid_facts_about_labels_are_refused(more: dict[str, Any]) -> None:
    with pytest.raises(SchemaError, match="not a valid entity schema"):
        EntitySchema.from_mapping({"name": "x", "columns": {"a": {"kind": "text"}}, **more})


GROUPS: dict[str, Any] = {
    "amenity": {"exclusive": True, "role": "kind"},
    "wheelchair": {"role": "attribute"},
    "menu": {"role": "attribute", "of": ["amenity=restaurant"], "labels": ["diet:*", "menu"]},
}


def test_groups_survive_the_mapping_of_a_schema() -> None:
    schema = EntitySchema.from_mapping({**one_column(kind="text"), "groups": GROUPS})
    assert schema.groups["amenity"] == LabelGroup(("amenity=*",), exclusive=True, role=Role.KIND)
    assert schema.groups["wheelchair"].of is None
    assert schema.to_mapping()["groups"] == GROUPS
    assert EntitySchema.from_mapping(schema.to_mapping()) == schema
    names = ("amenity=bar", "diet:vegan=yes", "menu", "menus", "wheelchair=yes")
    assert group_numbers(schema.groups, names).tolist() == [0, 2, 2, -1, 1]
    assert [*schema.with_groups_of(names[:3]).groups] == ["amenity", "menu"]
    learned = {"groups": {"w": {"role": "attribute", "of": "learned"}}}
    assert EntitySchema.from_mapping({**one_column(kind="text"), **learned}).groups["w"].of is None


@pytest.mark.parametrize(
    ("group", "reason"),
    [
        ({"exclusive": 1}, "'exclusive' must be true or false"),
        ({"role": "sort"}, "'role' must be one of kind, attribute"),
        ({"role": "kind", "of": ["a"]}, "only a group with role = 'attribute' has 'of'"),
        ({"role": "attribute", "of": []}, "'of' must be a list of labels or 'learned'"),
        ({"labels": "a"}, "'labels' must be a list of labels"),
        ({"labels": [""]}, "'labels' must be a list of labels"),
        ({"kinds": True}, "unknown options kinds"),
        (5, "not a valid entity schema"),
    ],
)
def test_a_group_that_is_not_valid_is_refused(group: Any, reason: str) -> None:
    with pytest.raises(SchemaError, match=reason):
        EntitySchema.from_mapping({**one_column(kind="text"), "groups": {"g": group}})


def test_a_label_of_an_exclusive_group_implies_no_other() -> None:
    content = {**one_column(kind="text"), "groups": GROUPS}
    for implied, right in (({"amenity=pub": ["amenity=bar"]}, False), ({"menu": ["x"]}, True)):
        if right:
            EntitySchema.from_mapping({**content, "implies": implied})
            continue
        with pytest.raises(SchemaError, match="'amenity' is exclusive, but one of its labels"):
            EntitySchema.from_mapping({**content, "implies": implied})
