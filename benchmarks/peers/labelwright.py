"""This project: training with its command, prediction in this process."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import contract

WARM_UP_ROWS = 200
"""Number of rows of the first training, which compiles the kernels."""
MODEL = "benchmark"


def run(work: contract.Work) -> None:
    """Time `labelwright train` with default settings (with reading and report), and predict."""
    os.environ["OMP_WAIT_POLICY"] = "passive"  # as the command line does
    os.environ["LABELWRIGHT_HOME"] = str(work.scratch / "home")
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    description = work.description
    parts = {name: Path(file) for name, file in description["tests"].items()}
    first = next(iter(parts.values()))
    sample = _warm_up_rows(work, first)
    _train(sample, sample, description["schema"], "warm-up", work.threads)
    train = Path(description["train"])
    with work.training({"configuration": "defaults"}):
        outcome = _train(train, first, description["schema"], MODEL, work.threads)
    work.notes = {"job_seconds": outcome["seconds"], "metrics": outcome["metrics"]}

    from labelwright.entities.schema import load_schema
    from labelwright.models.decisions import LabelQuery
    from labelwright.models.registry import load_model
    from labelwright.training.data import read_labelled
    from labelwright.training.evaluation.evaluate import label_all

    labeler = load_model(outcome["model_uri"]).bundle.labeler
    labeler.warm_up()
    if list(labeler.labels.names) != json.loads((work.folder / "labels.json").read_text("utf-8")):
        raise ValueError("the model and the set have different labels")
    for part, file in parts.items():
        rows = read_labelled([file], load_schema(description["schema"])).entities
        with work.predicting(part):
            predictions = label_all(labeler, rows, LabelQuery(contract.DEPTH), work.threads)
        scores = np.asarray(predictions.probabilities, np.float32)
        work.save(
            part,
            contract.Predictions(predictions.indptr, predictions.ids, scores, predictions.asserted),
        )


def _warm_up_rows(work: contract.Work, file: Path) -> Path:
    import pyarrow.parquet as pq

    sample = work.scratch / "sample.parquet"
    pq.write_table(pq.read_table(file).slice(0, WARM_UP_ROWS), sample)
    return sample


def _train(data: Path, test: Path, schema: str, name: str, threads: int) -> dict[str, Any]:
    """Train in a separate process, and return the JSON object in the last line of its output."""
    command = [
        *(sys.executable, "-m", "labelwright", "train", "--json", "--name", name),
        *("--schema", schema, "--threads", str(threads)),
        *("--data", str(data), "--test", str(test)),
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    outcome: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return outcome


if __name__ == "__main__":
    contract.main(run, "labelwright")
