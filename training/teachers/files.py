"""Files of an encoder: in a folder, or in an installed package."""

import dataclasses
import importlib.metadata
from collections.abc import Sequence
from pathlib import Path

from labelwright.entities.errors import DataError
from labelwright.training.teachers.packages import packaged_models

MODELS = ("onnx/model.onnx", "model.onnx")
"""Possible paths of the model in the folder of an encoder."""
TOKENIZERS = ("tokenizer.json",)
POOLINGS = ("1_Pooling/config.json",)


@dataclasses.dataclass(frozen=True)
class EncoderFiles:
    """The files of an encoder; `pooling` is None if there are no settings of the pooling."""

    model: Path
    tokenizer: Path
    pooling: Path | None

    @property
    def contents(self) -> Sequence[Path]:
        """All files. The weights of a large model are in files of their own, beside the model."""
        weights = sorted(self.model.parent.glob(f"{self.model.name}[._]*"))
        pooling = [self.pooling] if self.pooling else []
        return [self.model, *weights, self.tokenizer, *pooling]


def find_encoder_files(where: str | Path, tokenizer: str | Path | None = None) -> EncoderFiles:
    """The files of a folder or package; raises DataError if one is missing.

    `tokenizer` names the tokenizer's file, or a folder or package that has it.
    """
    folder = _folder(where, MODELS)
    model = _existing(folder, MODELS)
    if tokenizer is None:
        found = _first(folder, TOKENIZERS)
        if found is None:
            raise DataError(
                f"the encoder {where} has no tokenizer.json: name its file, or a package that has "
                "it, with --encoder-tokenizer"
            )
    else:
        found = Path(tokenizer)
        if not found.is_file():
            found = _existing(_folder(tokenizer, TOKENIZERS), TOKENIZERS)
    return EncoderFiles(model, found, _first(folder, POOLINGS))


def _folder(where: str | Path, names: Sequence[str]) -> Path:
    """The folder `where`, or else the folder of the package `where` that has one of the files."""
    if Path(where).exists():
        return Path(where)
    try:
        folders = _folders(importlib.metadata.distribution(str(where)), names)
    except (importlib.metadata.PackageNotFoundError, ValueError) as error:
        raise DataError(
            f"there is no folder and no installed package {str(where)!r}; the installed packages "
            f"with {names[-1]} are: {', '.join(_installed(names)) or 'none'}"
        ) from error
    if len(folders) == 1:
        return folders[0]
    found = "no file" if not folders else f"files in {' and '.join(map(str, folders))}:"
    raise DataError(f"the package {where} has {found} {names[-1]}; give the path of a folder")


def _existing(folder: Path, names: Sequence[str]) -> Path:
    """The first of the files that exists; raises DataError if there is none."""
    found = _first(folder, names)
    if found is None:
        kind = "folder" if folder.is_dir() else "file"
        raise DataError(f"the {kind} {folder} is not a folder with {' or '.join(names)}")
    return found


def _first(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _folders(distribution: importlib.metadata.Distribution, names: Sequence[str]) -> list[Path]:
    """The folders in which a distribution has one of the files."""
    found = set()
    for file in distribution.files or ():
        path = f"/{file.as_posix()}"
        name = next((name for name in names if path.endswith(f"/{name}")), None)
        if name:
            found.add(Path(str(file.locate())[: -len(name)]))
    return sorted(found)


def _installed(names: Sequence[str]) -> list[str]:
    """The names of the installed packages that have one of the files, or an interface of theirs."""
    found = {each.name for each in importlib.metadata.distributions() if _folders(each, names)}
    return sorted(found | set(packaged_models() if names is MODELS else ()))
