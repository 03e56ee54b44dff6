"""Runs the commands and programs of README and docs as written.

The tutorial has a separate test. Commands that need other machines are run by the tests named in
ELSEWHERE; `tests/docs` checks that their options exist.
"""

import gzip
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.conftest import BRANDS
from tests.docs.pages import PAGES, blocks
from tests.entities.importers import published
from tests.processes import Service, environment, serving, spawn
from tests.training.teachers.encoders import WORDS, write_encoder

EXTRACTS = Path(os.environ.get("LABELWRIGHT_DATA", "../shared/data")).resolve() / "osm/extracts"
PATIENCE = 600.0
SERVE = re.compile(r"^\S*labelwright serve\b")
ELSEWHERE = {
    r"sudo |make ": "test_fresh_debian",
    r"docker |git |kubectl |/data/": "test_image and tests/test_kubernetes",
    r"s3://": "test_object_store",
    r"pip install ": "test_ray",
    r"mlflow server ": "test_image",
    r"postgresql://": "test_corrections",
    r"pyspark": "test_spark",
}
REFUSED = ("labelwright promote brands 3",)
"""Commands of the pages that must fail."""
PAGES_HERE = [page for page in PAGES if page.name != "tutorial.md"]
PROGRAM = """
import pandas
frame = pandas.DataFrame({"id": ["a"], "name": ["Joe's Pizza"]})
"""

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        not EXTRACTS.exists(), reason=f"no real extracts at {EXTRACTS}: set LABELWRIGHT_DATA"
    ),
    pytest.mark.skipif(not shutil.which("curl"), reason="the commands of the pages use curl"),
]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files and models that the commands of the pages use."""
    folder = tmp_path_factory.mktemp("workspace")
    write_files(folder)
    for arguments in (
        ("train", "--data", "places.parquet", "--name", "places"),
        ("train", "--data", "brands.parquet", "--name", "brands"),
        ("train", "--data", "brands.parquet", "--name", "brands"),  # the version to roll back
        ("label", "new.parquet", "last_week.parquet", "--model", "models:/places@champion"),
    ):
        result = spawn(*arguments, environment=settings(folder), timeout=PATIENCE, cwd=folder)
        assert result.code == 0, result.err
    return folder


@pytest.fixture(scope="module")
def service(workspace: Path) -> Iterator[Service]:
    with serving(
        "--model", "models:/brands@champion", environment=settings(workspace), folder=workspace
    ) as running:
        yield running


def settings(folder: Path, home: str = "home") -> dict[str, str]:
    """Environment variables for the commands; PATH has the installed programs."""
    found = environment(folder / home) | {"KEY": "as the command before it prints"}
    found["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / home}/mlflow.db"
    return {**found, "PATH": f"{Path(sys.executable).parent}:{found['PATH']}"}


def write_files(folder: Path) -> None:
    """Write the files that the pages name."""
    brands = pq.read_table(BRANDS)
    for name, start, rows in (
        ("places", 0, 3_000),
        ("brands", 0, 4_000),
        ("some", 6_000, 3_000),
        ("few", 9_000, 400),
        ("held_out", 12_000, 500),
    ):
        pq.write_table(brands.slice(start, rows), folder / f"{name}.parquet")
    for name in ("places", "data"):
        (folder / name).mkdir()
    pq.write_table(brands.slice(0, 2_000), folder / "places" / "part.parquet")
    new = brands.slice(15_000, 200).drop_columns(["labels"])
    pq.write_table(new, folder / "new.parquet")
    entities = new.select(["id", "name"]).to_pylist()
    with gzip.open(folder / "new.jsonl.gz", "wt") as lines:
        lines.writelines(f'{{"id": "{entity["id"]}"}}\n' for entity in entities)
    shops = [f"{n},Sparkasse {n},Hauptstr. {n},amenity=bank|cuisine=none\n" for n in range(60)]
    (folder / "shops.csv").write_text("key,title,street,kinds\n" + "".join(shops))
    kinds = ("bank", "bakery", "café")
    stores = [f"Store {n},{kinds[n % 3]}\n" for n in range(60)]
    (folder / "shops-by-category.csv").write_text("title,category\n" + "".join(stores), "utf-8")
    (folder / "new.csv").write_text("key,title,street\n1,Sparkasse,Markt 1\n")
    (folder / "places.csv").write_text("id,name\na,Bäckerei Müller\n")
    questions = [f"where is the {WORDS[1 + n % 7]} number {n}" for n in range(90)]
    labelled = [f"{text},{WORDS[1 + n % 7]}" for n, text in enumerate(questions[:60])]
    (folder / "questions.csv").write_text("\n".join(["text,labels", *labelled]))
    (folder / "more_questions.csv").write_text("\n".join(["text", *questions[60:]]))
    book = '[labels."amenity=bank"]\ntitle = { en = "Bank" }\nseeds = ["loan"]\n'
    (folder / "book.toml").write_text(book)
    write_encoder(folder / "all-MiniLM-L6-v2")
    (folder / "redirects.csv").write_text("old,new\namenity=bank,amenity=money\n")
    for name in ("monaco", "europe"):
        shutil.copy(EXTRACTS / "monaco.osm.pbf", folder / f"{name}.osm.pbf")
    place = {
        "fsq_place_id": "a",
        "name": "Joe's Pizza",
        "latitude": 43.73,
        "longitude": 7.42,
        "fsq_category_labels": ["Dining and Drinking"],
    }
    published.write(folder / "foursquare" / "part.parquet", [place], published.FOURSQUARE)


@pytest.mark.parametrize("page", PAGES_HERE, ids=lambda page: page.name)
def test_every_command_of_a_page_works(page: Path, workspace: Path, service: Service) -> None:
    home = "home"
    if page.name == "operating.md":  # its commands restore a backup
        home = shutil.copytree(workspace / home, workspace / "another").name
    for typed in typed_on(page.read_text("utf-8")):
        if any(re.search(pattern, typed) for pattern in ELSEWHERE):
            continue
        if SERVE.match(typed):
            options = SERVE.sub("", typed).split()
            with serving(*options, environment=settings(workspace), folder=workspace):
                continue
        done = run(["bash", "-euo", "pipefail", "-c", adapted(typed, service)], workspace, home)
        assert (done.returncode != 0) == (typed in REFUSED), f"{typed}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("page", PAGES_HERE, ids=lambda page: page.name)
def test_every_program_of_a_page_works(page: Path, workspace: Path, service: Service) -> None:
    programs = blocks(page.read_text("utf-8"), "python")
    ours = [p for p in programs if not any(re.search(pattern, p) for pattern in ELSEWHERE)]
    if ours:
        done = run([sys.executable, "-c", adapted("\n".join([PROGRAM, *ours]), service)], workspace)
        assert done.returncode == 0, done.stderr


def test_commands_that_run_elsewhere_are_on_a_page() -> None:
    words = "\n".join(page.read_text("utf-8") for page in PAGES_HERE)
    assert all(re.search(pattern, words) for pattern in ELSEWHERE)


def typed_on(page: str) -> Iterator[str]:
    """The commands of a page, in order; a pipeline is one command."""
    sessions = [
        "\n".join(line[2:] for line in session.splitlines() if line.startswith("$ "))
        for session in blocks(page, "console")
    ]
    for block in [*blocks(page, "sh"), *sessions]:
        command = ""
        for line in block.splitlines():
            command += line
            if is_whole(command):
                yield command
                command = ""
            else:
                command += "\n"
        assert not command, "a block ends within a command"


def is_whole(command: str) -> bool:
    """Whether the command is complete, without a continuation line."""
    try:
        shlex.split(command)
    except ValueError:
        return False
    return not command.endswith("\\")


def adapted(typed: str, service: Service) -> str:
    """The command for the test service: with its address, and with a curl that fails on errors."""
    port = str(service.port)
    local = typed.replace("127.0.0.1:8000", f"127.0.0.1:{port}").replace(" 8000)", f" {port})")
    return local.replace("curl -s", "curl -f -s").replace(".venv/bin/", "")


def run(
    command: list[str], workspace: Path, home: str = "home"
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        cwd=workspace,
        env=settings(workspace, home),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
