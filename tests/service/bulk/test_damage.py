"""Damaged files of bulk jobs give the output of undamaged ones, or an error."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import World
from tests.repeats import repeats

TRIES = repeats(10, 400)

BEGIN = """
import os, random, shutil, signal, sys
from pathlib import Path
import pyarrow.parquet as pq
from labelwright.entities.errors import DataError
from labelwright.entities.io import readers
from labelwright.entities.io.locations import locate
from labelwright.models.bundle.format import read_bundle
from labelwright.service.bulk.job import BulkJob, journal_folder, label_file

bundle, folder = read_bundle(Path(sys.argv[1])), Path(sys.argv[2])
tries, chance = int(sys.argv[3]), random.Random(sys.argv[4])
source, target, earlier = (locate(folder / f"{name}.parquet") for name in ("in", "out", "earlier"))
readers.BATCH_ROWS = 50

def child(task):
    process = os.fork()  # this process has no threads, kernels or open files
    if not process:
        try:
            task()
        except DataError:
            os._exit(3)
        os._exit(0)
    return os.waitpid(process, 0)[1]

def damage(content):
    if chance.random() < 0.3:
        return content[:chance.randrange(len(content))]
    changed = bytearray(content)
    for _ in range(chance.choice([1, 1, 1, 20])):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)

def outputs():
    files = target.local, Path(f"{target.local}.rejects.jsonl")
    return [file.read_bytes() for file in files]
"""

JOURNAL = f"""{BEGIN}
job = BulkJob(source, target, threads=2, resume=True)
unfinished, kept = journal_folder(target), folder / "kept"

class Kill:
    rows = 450
    def __call__(self, rows, share):
        self.rows -= rows
        if self.rows <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

assert child(lambda: label_file(bundle, job)) == 0
whole = outputs()
assert child(lambda: label_file(bundle, job, Kill())) == signal.SIGKILL
shutil.copytree(unfinished, kept)
names = sorted(file.name for file in kept.iterdir() if file.stat().st_size)
assert len(names) == 4, names  # the description, the records and the drafts of both outputs
for _ in range(tries):
    shutil.copytree(kept, unfinished, dirs_exist_ok=True)
    for file in chance.sample(names, chance.choice([1, 1, 2, 3])):
        (unfinished / file).write_bytes(damage((kept / file).read_bytes()))
    status = child(lambda: label_file(bundle, job))
    assert status == 0, status
    assert outputs() == whole
    assert not unfinished.exists()
"""

PREVIOUS = f"""{BEGIN}
assert child(lambda: label_file(bundle, BulkJob(source, earlier, threads=2))) == 0
content, whole = earlier.local.read_bytes(), pq.read_table(earlier.local)
refused = 0
for _ in range(tries):
    earlier.local.write_bytes(damage(content))
    job = BulkJob(source, target, threads=2, previous=earlier)
    status = child(lambda: label_file(bundle, job))
    if os.waitstatus_to_exitcode(status) == 3:
        refused += 1
        continue
    assert status == 0, status
    assert pq.read_table(target.local).equals(whole)
assert 0 < refused
"""


@pytest.mark.repeated
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("program", [JOURNAL, PREVIOUS], ids=["journal", "previous"])
def test_damaged_files_never_change_the_output(world: World, tmp_path: Path, program: str) -> None:
    table = pq.read_table(world.data).slice(0, 600).drop_columns(["labels"])
    at = np.zeros(len(table))
    at[7] = 200  # this row is rejected
    table = table.append_column("lat", pa.array(at)).append_column("lon", pa.array(at / 2))
    pq.write_table(table, tmp_path / "in.parquet")
    completed = subprocess.run(
        [sys.executable, "-c", program, world.bundle, tmp_path, str(TRIES), "0"],
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
