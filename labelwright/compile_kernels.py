"""Compile all kernels before their first use: `python -m labelwright.compile_kernels`.

Numba compiles a kernel when it is first called, and keeps the machine code on disk. Compiling all
kernels takes about a minute. `make install` and the Dockerfile run this module, so that no later
command has to wait for the compiler. The module trains a small model, labels with the model, and
explains the labels, all in a temporary state folder. Compiled kernels are not compiled again.
"""

import dataclasses
import os
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path

from labelwright.entities.io.files import temporary_folder

ROWS = 2_000
"""Number of training rows. With fewer rows, some kernels are not called and not compiled."""
ROWS_TO_EXPLAIN = 20


def main() -> None:
    """Compile the kernels, and print a line with the duration."""
    print("compiling the kernels (about a minute, once) ...", end=" ", flush=True)
    started = time.monotonic()
    with temporary_folder() as folder:
        use_all_kernels(folder)
    print(f"done in {time.monotonic() - started:.0f} s", flush=True)


def use_all_kernels(folder: Path) -> None:
    """Train, label and explain in `folder`, each in a new process.

    If a command fails, this process prints the command's error messages and ends.
    """
    data, few = folder / "rows.parquet", folder / "few.parquet"
    write_rows(data, ROWS)
    write_rows(few, ROWS_TO_EXPLAIN)
    model = ("--model", "models:/small@champion")
    _run(folder, "train", "--data", data, "--name", "small")
    _run(folder, "label", data, folder / "labelled.parquet", *model)
    _run(folder, "explain", few, *model)


def write_rows(path: Path, count: int) -> None:
    """Write the first `count` rows of the embedded brands, with points and a column of numbers.

    Kernels of numbers are called only if there are such columns, and kernels of groups only if the
    schema has an exclusive group and attributes. The schema is in the metadata of the file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from labelwright.entities.io.schema_metadata import schema_metadata
    from labelwright.entities.label_groups import LabelGroup, Role
    from labelwright.entities.schema import Column, Kind, load_schema

    places = load_schema("places")
    columns = (*places.columns, Column("number", Kind.NUMBER))
    groups = {
        "shop": LabelGroup(("shop=*",), exclusive=True, role=Role.KIND),
        "takeaway": LabelGroup(("takeaway=*",), role=Role.ATTRIBUTE, of=("amenity=*",)),
    }
    schema = dataclasses.replace(places, columns=columns, groups=groups)
    brands = resources.files("labelwright.entities") / "data" / "brands.parquet"
    rows = pq.read_table(str(brands)).slice(0, count)
    for name in ("lat", "lon", "number"):
        rows = rows.append_column(name, pa.array([float(n % 90) for n in range(len(rows))]))
    pq.write_table(rows.replace_schema_metadata(schema_metadata(schema)), path)


def _run(home: Path, *arguments: object) -> None:
    """Run a command with `home` as its state folder, and without other settings."""
    settings = ("LABELWRIGHT_", "MLFLOW_")
    environment = {name: v for name, v in os.environ.items() if not name.startswith(settings)}
    environment["LABELWRIGHT_HOME"] = str(home)
    command = [sys.executable, "-P", "-m", "labelwright", *map(str, arguments)]
    done = subprocess.run(
        command, env=environment, cwd=home, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"\nlabelwright {arguments[0]} failed:\n{done.stderr}")


if __name__ == "__main__":
    main()
