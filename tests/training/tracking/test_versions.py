"""Promotion, rollback and pruning in a real registry."""

import dataclasses
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from labelwright.entities.errors import ModelNotFoundError, RegistryError, RequestError
from labelwright.entities.schema import EntitySchema
from labelwright.models.bundle.format import FORMAT
from labelwright.models.paths import tracking_uri
from labelwright.models.registry import load_model
from labelwright.training import job
from labelwright.training.fitting.fit import Configuration
from labelwright.training.job import Outcome, Task, train
from labelwright.training.tracking import versions
from labelwright.training.tracking.gate import Finding, Verdict
from labelwright.training.tracking.runs import experiment_id_of
from tests.audit import audit_lines
from tests.conftest import World
from tests.processes import FirstVisit
from tests.state_copies import DATABASE, restore

pytest_plugins = ["tests.worlds"]

Trainer = Callable[..., Outcome]


@dataclasses.dataclass(frozen=True)
class Registry:
    """A state folder with versions of `m`, and copies of it after each training."""

    home: Path
    places: EntitySchema
    outcomes: list[Outcome] = dataclasses.field(default_factory=list)

    def train(
        self, name: str, test: str = "test", schema: EntitySchema | None = None, **more: int
    ) -> Outcome:
        """Train a version on the rows of one name."""
        data, held_out = (self.home.parent / f"{part}.parquet" for part in (name, test))
        configuration = dataclasses.replace(Configuration(trees=10), **more)
        return train(Task([data], [held_out], schema or self.places, "m", configuration))

    def copy(self) -> None:
        """Keep a copy of the state folder for `restore`."""
        shutil.copytree(self.home, self._copy(len(self.outcomes)))

    def restore(self, versions: int) -> list[Outcome]:
        """Set the state folder to its copy with a number of versions; returns their outcomes."""
        restore(self._copy(versions), self.home)
        return self.outcomes[:versions]

    def _copy(self, versions: int) -> Path:
        return self.home.with_name(f"{versions}-versions")


@pytest.fixture(scope="module")
def registry(
    first_visit: FirstVisit,
    world: World,
    places: EntitySchema,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Registry]:
    """Three versions: trained on enough rows, on far too few rows, and on enough rows again."""
    home = tmp_path_factory.mktemp("versions") / "home"
    home.mkdir()
    shutil.copy(first_visit.home / DATABASE, home)
    rows = pq.read_table(world.data)
    parts = {"fair": (0, 600), "few": (0, 150), "poor": (0, 40), "test": (600, 300)}
    for name, (start, size) in parts.items():
        pq.write_table(rows.slice(start, size), home.parent / f"{name}.parquet")
    made = Registry(home, places)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABELWRIGHT_HOME", str(home))
        for variable in ("MLFLOW_TRACKING_URI", "LABELWRIGHT_CORRECTIONS", "LABELWRIGHT_MODEL"):
            patch.delenv(variable, raising=False)
        made.copy()
        for name in ("fair", "poor", "fair"):
            made.outcomes.append(made.train(name))
            made.copy()
        yield made


@pytest.fixture
def train_on(registry: Registry) -> Trainer:
    """A function that trains a version of `m` on the rows of one name."""
    return registry.train


@pytest.fixture
def champion(registry: Registry) -> Outcome:
    """The first version alone, trained on enough rows."""
    return registry.restore(1)[0]


@pytest.fixture
def trained(registry: Registry) -> list[Outcome]:
    """All three versions."""
    return registry.restore(3)


@pytest.fixture
def no_versions(registry: Registry) -> Path:
    """The state folder, without any version."""
    registry.restore(0)
    return registry.home


@pytest.fixture
def home(registry: Registry) -> Path:
    """The state folder of the versions."""
    return registry.home


def test_the_gate_promotes_or_refuses_with_a_reason(trained: list[Outcome]) -> None:
    fair, poor, again = (outcome.verdict for outcome in trained)
    assert fair == Verdict(True, "it is the first version")
    assert not poor.promoted
    assert "nDCG@5 -" in poor.reason
    assert re.search(r"; it lacks \d+ of the champion's labels", poor.reason)
    assert again.promoted
    assert versions.current_champion("m") == "3"
    assert versions.former_champions("m") == ["1"]


def test_a_refused_version_needs_force_and_can_be_rolled_back(
    trained: list[Outcome], home: Path
) -> None:
    with pytest.raises(RequestError, match="--force"):
        versions.promote("m", "2")
    assert versions.current_champion("m") == "3"
    versions.promote("m", "2", force=True)
    assert versions.current_champion("m") == "2"
    assert versions.former_champions("m") == ["3", "1"]
    assert [versions.rollback("m"), versions.rollback("m")] == ["3", "1"]
    with pytest.raises(ModelNotFoundError, match="no earlier champion"):
        versions.rollback("m")
    moves = [(line["action"], line["version"]) for line in audit_lines(home)]
    assert moves == [
        ("promotion", "1"),
        ("promotion", "3"),
        ("promotion", "2"),
        ("rollback", "3"),
        ("rollback", "1"),
    ]


def test_pruning_frees_space_and_keeps_the_champions(trained: list[Outcome], home: Path) -> None:
    before = sum(f.stat().st_size for f in (home / "artifacts").rglob("*") if f.is_file())
    assert versions.prune("m", keep=1) == versions.Pruned(["2"], [])
    line = audit_lines(home)[-1]
    assert (line["action"], line["model"], line["version"]) == ("version deleted", "m", "2")
    after = sum(f.stat().st_size for f in (home / "artifacts").rglob("*") if f.is_file())
    assert before - after > 30_000  # the refused model is small
    assert load_model("models:/m/1").version == "1"
    assert load_model("models:/m@champion").version == "3"
    with pytest.raises(ModelNotFoundError):
        load_model("models:/m/2")


def test_rows_of_both_models_are_cross_validated_and_other_rows_are_not(
    champion: Outcome, train_on: Trainer
) -> None:
    reason = train_on("test", test="poor").verdict.reason
    assert "40 test rows, on all of which the champion was trained, which favours it" in reason
    assert "on 300 test rows and" in train_on("poor").verdict.reason  # 560 rows are missing
    assert "on 600 cross-validated rows" in train_on("poor", test="fair").verdict.reason
    assert "on 300 test rows and" in train_on("poor").verdict.reason  # 40 rows were answered


def test_an_equal_recipe_is_promoted_though_few_rows_cannot_tell(
    train_on: Trainer, no_versions: Path
) -> None:
    first, again = train_on("few", min_count=5), train_on("few", min_count=5, seed=7)
    assert again.verdict.finding is Finding.CANNOT_TELL
    assert again.verdict.promoted
    assert re.search(
        r"about [\d,]+ more labelled rows would tell; it is promoted because its data "
        "only grew",
        again.verdict.reason,
    )
    other = train_on("few", min_count=5, candidates=4)
    assert other.verdict.finding is Finding.CANNOT_TELL
    assert not other.verdict.promoted
    assert "the configuration changed (candidates): give more" in other.verdict.reason
    rows = pq.read_table(no_versions.parent / "few.parquet")
    pq.write_table(rows.slice(3), no_versions.parent / "few.parquet")
    fewer = train_on("few", min_count=5)
    assert fewer.verdict.finding is Finding.CANNOT_TELL
    assert (
        "3 training rows of the champion are missing or have other labels" in fewer.verdict.reason
    )
    tags = MlflowClient(tracking_uri(), tracking_uri()).get_model_version("m", "4").tags
    assert (tags[versions.VERDICT], tags[versions.FINDING]) == ("refused", "cannot tell")
    assert first.verdict.finding is Finding.NOT_COMPARED


def test_a_champion_of_an_old_format_is_replaced(
    champion: Outcome, train_on: Trainer, home: Path
) -> None:
    for file in home.rglob("manifest.json"):
        content = json.loads(file.read_text("utf-8"))
        file.write_text(json.dumps(content | {"format": FORMAT - 1}), "utf-8")
    verdict = train_on("poor").verdict
    assert verdict.promoted
    assert "the champion cannot be loaded any more" in verdict.reason
    assert versions.current_champion("m") == "2"


@pytest.mark.parametrize("damage", ["deleted", "truncated"])
def test_a_champion_that_cannot_be_loaded_is_replaced(
    champion: Outcome, train_on: Trainer, home: Path, damage: str
) -> None:
    for folder in (home / "artifacts").iterdir():
        if damage == "deleted":
            shutil.rmtree(folder)
        else:
            for file in folder.rglob("*.*"):
                file.write_bytes(b"")
    verdict = train_on("poor").verdict
    assert verdict.promoted
    assert "the champion cannot be loaded any more" in verdict.reason
    assert versions.current_champion("m") == "2"


def test_a_version_after_a_deleted_champion_is_compared_with_a_former_champion(
    trained: list[Outcome], train_on: Trainer
) -> None:
    client = MlflowClient(tracking_uri(), tracking_uri())
    client.delete_model_version("m", "3")
    assert versions.current_champion("m") is None
    verdict = train_on("poor").verdict
    assert not verdict.promoted
    assert "there is no champion" in verdict.reason
    assert "version 1, the last former champion, takes its place: " in verdict.reason
    client.delete_model_version("m", "1")
    verdict = train_on("poor").verdict
    assert verdict.promoted
    assert "no former champion is left" in verdict.reason


def test_a_deleted_experiment_is_named_before_the_fit(
    champion: Outcome, train_on: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = MlflowClient(tracking_uri(), tracking_uri())
    experiment = client.get_experiment_by_name("m")
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    restore = f"mlflow experiments restore --experiment-id {experiment.experiment_id}"
    with monkeypatch.context() as patch:
        patch.setattr(job, "read_labelled", None)  # not even the rows are read
        with pytest.raises(RegistryError, match=f"'m' was deleted.*{restore}"):
            train_on("fair")
    with pytest.raises(RegistryError, match="'m' was deleted"):
        experiment_id_of("m")
    client.restore_experiment(experiment.experiment_id)
    assert experiment_id_of("m") == experiment.experiment_id


def test_a_champion_with_other_columns_is_not_compared(
    champion: Outcome, train_on: Trainer, places: EntitySchema
) -> None:
    fewer = dataclasses.replace(places, columns=places.columns[:3])
    verdict = train_on("fair", schema=fewer).verdict
    assert not verdict.promoted
    assert "the champion reads other columns" in verdict.reason
    versions.promote("m", "2", force=True)
    assert versions.current_champion("m") == "2"
