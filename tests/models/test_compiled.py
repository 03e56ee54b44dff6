"""Machine code on disk is never older than the sources it was made of."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import entities
import models

COUNT = """
from entities.schema import load_schema
from entities.tables import from_records
from models.features import token_source
from training_stand_in import count
import numpy as np
entities = from_records([{"text": "abcdef"}], load_schema("text"))
print(count(token_source(entities, np.zeros((0, 15)))))
"""
STAND_IN = """
from models.compiled import compiled
from models import tokens

@compiled
def rows(source, scratch):
    return tokens.row_tokens(0, source, scratch)

def count(source):
    return rows(source, tokens.scratch(source))
"""


def test_a_change_in_another_module_is_seen(tmp_path: Path) -> None:
    for package in (entities, models):
        folder = Path(package.__file__ or "").parent
        ignored = shutil.ignore_patterns("__pycache__", "brands.parquet")
        shutil.copytree(folder, tmp_path / folder.name, ignore=ignored)
    (tmp_path / "training_stand_in.py").write_text(STAND_IN)
    before = counted(tmp_path)
    assert counted(tmp_path) == before
    tokens = tmp_path / "models" / "tokens.py"
    text = tokens.read_text("utf-8")
    changed = text.replace("_LONGEST_GRAM = 3, 5", "_LONGEST_GRAM = 3, 3")
    assert changed != text
    renamed = changed.replace("TokenSource", "TokenSpring")
    assert renamed != changed
    tokens.write_text(renamed, "utf-8")
    features = tmp_path / "models" / "features.py"
    features.write_text(features.read_text("utf-8").replace("TokenSource", "TokenSpring"), "utf-8")
    assert counted(tmp_path) < before


def counted(folder: Path) -> int:
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    said = subprocess.run(
        [sys.executable, "-c", COUNT],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    return int(said.stdout)
