"""Tests of a registered model as a Spark UDF that MLflow makes."""

import os
import subprocess
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import labelwright
from benchmarks.environments import ROOT, interpreter
from tests.integration.machines import need_command
from tests.processes import environment

if TYPE_CHECKING:
    from tests.conftest import World

pytest_plugins = ["tests.worlds"]
pytestmark = [pytest.mark.integration, pytest.mark.timeout(1_800)]
SCRIPT = Path(__file__).with_name("on_spark.py")
REQUIREMENTS = Path(__file__).with_name("requirements")
CORES = 2
COLUMNS = ["id", "name", "country"]


@pytest.fixture(scope="module")
def spark() -> str:
    """The interpreter of an environment with Spark, made below `build`."""
    need_command("java", "apt-get install openjdk-17-jdk-headless")
    return interpreter("spark", ROOT / "build" / "environments", REQUIREMENTS, "pyspark")


def test_spark_agrees_with_bulk_labelling(
    spark: str,
    trained_world: "World",
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = pq.read_table(trained_world.data)
    table = table.select([name for name in COLUMNS if name in table.column_names])
    rows = pa.concat_tables([table] * 4)
    rows = rows.set_column(0, "id", pa.array(map(str, range(len(rows)))))
    pq.write_table(rows, tmp_path / "in.parquet", row_group_size=3_000)
    paths = os.pathsep.join([str(ROOT), sysconfig.get_paths()["purelib"]])
    settings = {
        **environment(trained_world.home),
        "MLFLOW_TRACKING_URI": f"sqlite:///{trained_world.home / 'mlflow.db'}",
        "PYTHONPATH": paths,
        "PYSPARK_PYTHON": spark,
    }
    given = (trained_world.uri, tmp_path / "in.parquet", tmp_path / "out", CORES)
    done = subprocess.run(
        [spark, SCRIPT, *map(str, given)], env=settings, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    count, seconds = done.stdout.split()
    predictions = pq.read_table(tmp_path / "out")
    assert int(count) == len(rows) == len(predictions)
    predictions = predictions.take(pc.sort_indices(predictions["id"].cast(pa.int64())))
    expected = labelwright.load(trained_world.uri).label(rows)
    assert predictions["labels"].to_pylist() == expected["labels"].to_pylist()
    with capsys.disabled():
        print(f"\nspark_udf on {CORES} cores: {int(count) / float(seconds):,.0f} rows a second")
