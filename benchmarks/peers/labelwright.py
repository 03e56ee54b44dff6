"""This project: the command that trains, then the trained model asked in this process."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import contract

FEW = 200
"""Rows of the model that is trained first, so that kernels are compiled before anything counts."""
MODEL = "benchmark"


def run(work: contract.Work) -> None:
    """Run `labelwright train` with default settings; time it whole, reading and report included."""
    os.environ["OMP_WAIT_POLICY"] = "passive"  # as the command line sets it
    os.environ["LABELWRIGHT_HOME"] = str(work.scratch / "home")
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    description = work.description
    parts = {name: Path(file) for name, file in description["tests"].items()}
    first = next(iter(parts.values()))
    few = _few(work, first)
    _train(few, few, description["schema"], "warm-up", work.threads)
    train = Path(description["train"])
    with work.training({"configuration": "defaults"}):
        said = _train(train, first, description["schema"], MODEL, work.threads)
    work.notes = {"job_seconds": said["seconds"], "metrics": said["metrics"]}

    from labelwright.entities.schema import load_schema
    from labelwright.models.decisions import LabelQuery
    from labelwright.models.registry import load_model
    from labelwright.training.data import read_labelled
    from labelwright.training.evaluation.evaluate import label_all

    labeler = load_model(said["model_uri"]).bundle.labeler
    labeler.warm_up()
    if list(labeler.labels.names) != json.loads((work.folder / "labels.json").read_text("utf-8")):
        raise ValueError("the model has other labels than the set")
    for part, file in parts.items():
        rows = read_labelled([file], load_schema(description["schema"])).entities
        with work.predicting(part):
            predictions = label_all(labeler, rows, LabelQuery(contract.DEPTH), work.threads)
        scores = np.asarray(predictions.probabilities, np.float32)
        work.answer(
            part,
            contract.Predictions(predictions.indptr, predictions.ids, scores, predictions.asserted),
        )


def _few(work: contract.Work, file: Path) -> Path:
    import pyarrow.parquet as pq

    few = work.scratch / "few.parquet"
    pq.write_table(pq.read_table(file).slice(0, FEW), few)
    return few


def _train(data: Path, test: Path, schema: str, name: str, threads: int) -> dict[str, Any]:
    """Train in a process of its own; returns the line of JSON that it ends with."""
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
