"""Corrections from HTTP to a retrained model: `labelwright retrain` and `corrections`."""

import fcntl
import re
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

import labelwright
from labelwright.models.paths import tracking_uri
from tests.labelwright.commands.summaries import last_line, registered, train
from tests.processes import Command

if TYPE_CHECKING:
    from tests.conftest import World

pytest_plugins = ["tests.worlds"]

NEW = "cuisine=fermented shark"


def correct(client: httpx.Client, entity: dict[str, object], reviewer: str) -> None:
    """Deny the most probable label of an entity, and add a label that no model has."""
    response = client.post("/v1/labels", json={"entities": [entity]}).json()
    first = response["results"][0]["labels"][0]["label"]
    content = {"entity": entity, "denied": [first], "added": [NEW], "reviewer": reviewer}
    assert client.post("/v1/feedback", json=content).status_code == 201


def asserted(uri: str, entities: list[dict[str, object]]) -> list[set[str]]:
    """The asserted labels of each entity."""
    return [
        {label["label"] for label in result["labels"] if label["asserted"]}
        for result in labelwright.load(uri).label(entities).to_pylist()
    ]


@pytest.mark.usefixtures("empty_world")
def test_corrections_are_learned_once_and_reported(
    command: Command,
    client: httpx.Client,
    world: "World",
    rows: pa.Table,
    data: Path,
    tmp_path: Path,
) -> None:
    places: list[dict[str, object]] = [
        {"id": f"shark{n}", "name": f"Hákarlahúsið {n}", "country": "IS"} for n in range(40)
    ]
    first = train(command, "--data", data, "--name", "small")
    assert first["promoted"]
    for entity in places:
        for reviewer in ("anna", "ben"):
            correct(client, entity, reviewer)

    feedback = f"sqlite:///{world.home}/corrections.db"
    retrain = ("retrain", "--threads", 1, "--data", data, "--name", "small", "--json")
    completed = command(*retrain, "--feedback", feedback)
    assert completed.code == 0, completed.err
    summary = last_line(completed.out)
    assert (summary["skipped"], summary["version"]) == (False, "2")
    assert all(NEW in labels for labels in asserted("models:/small/2", places))
    assert all(NEW not in labels for labels in asserted("models:/small/1", places))

    unseen, learned = summary["corrections"]
    assert (unseen["part"], learned["part"]) == ("held out", "learned from")
    assert unseen["entities"] + learned["entities"] >= len(places)
    assert unseen["after"] > unseen["before"]
    assert learned["after"] > learned["before"]
    assert f"{learned['after']} of {learned['verdicts']} verdicts" in completed.out.replace(",", "")
    folder = tmp_path / "artifacts"
    folder.mkdir()
    run = MlflowClient(tracking_uri(), tracking_uri())
    run.download_artifacts(summary["run_id"], "", str(folder))
    card = (folder / "model_card.md").read_text("utf-8")
    assert "## Effect of corrections" in card
    assert re.search(rf"\| held out +\| +{unseen['entities']} \|", card)
    verdicts = pyarrow.csv.read_csv(folder / "corrections.csv").to_pylist()
    (shark,) = [v for v in verdicts if v["entity_id"] == "shark7" and v["label"] == NEW]
    assert (shark["verdict"], shark["asserted_before"], shark["asserted"]) == (
        "present",
        False,
        True,
    )

    exported = tmp_path / "corrections.parquet"
    completed = command("corrections", "export", exported, "--feedback", feedback)
    assert completed.code == 0, completed.err
    for source in (feedback, exported):
        again = command(*retrain, "--feedback", source)
        assert again.code == 0, again.err
        assert last_line(again.out) == {
            "skipped": True,
            "reason": "nothing has changed since version 2 was trained",
        }
    champion = "2" if summary["promoted"] else "1"
    assert registered() == {"small": {"champion": champion}}


@pytest.mark.usefixtures("empty_world")
def test_retrain_is_skipped_during_another_retraining_and_keeps_a_rollback(
    command: Command, empty_world: Path, rows: pa.Table, data: Path, tmp_path: Path
) -> None:
    fewer = tmp_path / "fewer.parquet"
    pq.write_table(rows.slice(0, 250), fewer)
    assert last_line(command("retrain", "--data", fewer, "--threads", 1, "--json").out)["promoted"]
    (lock,) = (empty_world / "retraining").iterdir()
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        completed = command("retrain", "--data", data, "--threads", 1, "--json")
    assert completed.code == 0
    assert last_line(completed.out) == {
        "skipped": True,
        "reason": "another retraining of 'places' is under way",
    }
    again = command("retrain", "--data", data, "--test", fewer, "--threads", 1, "--json")
    version = last_line(again.out)["version"]
    assert version == "2"
    for _ in range(2):  # before and after the rollback
        completed = command("retrain", "--data", data, "--test", fewer, "--threads", 1, "--json")
        assert (
            last_line(completed.out)["reason"] == "nothing has changed since version 2 was trained"
        )
        command("rollback", "places")
    assert registered() == {"places": {"champion": "1"}}


@pytest.mark.usefixtures("empty_world")
def test_corrections_are_counted_exported_deleted_and_purged(
    command: Command, empty_world: Path, tmp_path: Path
) -> None:
    def output_of(*arguments: object) -> str:
        found = command("corrections", *arguments)
        assert found.code == 0, found.err
        return found.out

    assert output_of("count") == "0 corrections\n"
    assert (empty_world / "corrections.db").exists()
    elsewhere = f"sqlite:///{tmp_path}/elsewhere.db"
    assert output_of("export", tmp_path / "all.parquet", "--feedback", elsewhere).startswith("0 ")
    assert pq.read_table(tmp_path / "all.parquet").num_rows == 0
    assert output_of("delete", "--entity-id", "nobody") == "0 corrections deleted\n"
    assert output_of("purge", "--older-than", "365d") == "0 corrections deleted\n"
    for wrong, code in (
        (("purge", "--older-than", "a year"), 2),
        (("delete",), 2),
        ((), 2),
        (("export", "corrections.csv"), 3),
        (("export", "-"), 3),
        (("count", "--feedback", "nonsense"), 3),
        (("count", "--feedback", "postgresql://anna:hunter2@127.0.0.1:1/none"), 6),
    ):
        found = command("corrections", *wrong)
        assert found.code == code, found.err
        assert "hunter2" not in found.err


@pytest.mark.usefixtures("empty_world")
def test_retrain_after_a_refusal_says_what_was_refused_and_why(
    command: Command, rows: pa.Table, data: Path, tmp_path: Path
) -> None:
    poor = tmp_path / "poor.parquet"
    pq.write_table(rows.slice(0, 40), poor)
    assert train(command, "--data", data)["verdict"] == "not compared"
    retrain = ("retrain", "--data", poor, "--test", data, "--threads", 1, "--json")
    refused = last_line(command(*retrain).out)
    assert (refused["promoted"], refused["verdict"]) == (False, "worse")
    again = last_line(command(*retrain).out)
    assert again == {
        "skipped": True,
        "reason": "version 2 was trained on the same rows and corrections, and was refused: "
        f"{refused['reason']}; to use it all the same, run `labelwright promote places 2 --force`",
    }
    assert command("promote", "places", "2", "--force").code == 0
    unchanged = "nothing has changed since version 2 was trained"
    assert last_line(command(*retrain).out)["reason"] == unchanged
