"""Command line: parse the arguments, run one command, and map errors to exit codes."""

import argparse
import gc
import importlib.metadata
import logging
import os
import sys
import textwrap
import warnings
from collections.abc import Sequence

from labelwright.commands import (
    corrections,
    demo,
    diff,
    doctor,
    evaluate,
    explain,
    export,
    import_,
    keys,
    label,
    labels,
    promote,
    prune,
    retrain,
    rollback,
    serve,
    study,
    train,
    tune,
)
from labelwright.entities.errors import (
    DataError,
    LabelwrightError,
    ModelError,
    RegistryError,
    RequestError,
    StorageError,
)
from labelwright.interrupts import interruptible
from labelwright.settings import settings_table

EXIT_CODES = {
    DataError: 3,
    RequestError: 3,
    ModelError: 4,
    RegistryError: 5,
    StorageError: 6,
    LabelwrightError: 1,
}

_EPILOG = """\
A model URI is a bundle folder, runs:/RUN_ID/model, models:/NAME@ALIAS or models:/NAME/VERSION.

exit codes: 0 success, 1 other failure, 2 wrong usage, 3 invalid data or query, 4 unusable model,
            5 tracking server or registry, 6 disk, database or object store, 130 SIGINT (Ctrl-C),
            143 SIGTERM; 0 for serve and demo if a signal stops them

environment:
"""


_COMMANDS = (
    train, retrain, evaluate, label, explain, serve, keys, import_, export, labels, corrections,
    promote,
    rollback, diff, prune, study, tune, doctor, demo,
)  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """Build the argument parser with all commands."""
    top = argparse.ArgumentParser(
        prog="labelwright",
        description="Train, evaluate, apply and serve multi-label classifiers of places and other "
        "entities.",
        epilog=_EPILOG + textwrap.indent(settings_table(), "  "),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    version = importlib.metadata.version("labelwright")
    top.add_argument("--version", action="version", version=f"labelwright {version}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in _COMMANDS:
        summary = (module.__doc__ or "").splitlines()[0]
        command = commands.add_parser(
            module.__name__.rsplit(".", 1)[-1].rstrip("_"), help=summary, description=module.__doc__
        )
        module.configure(command)
        command.set_defaults(run=module.run)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = parser().parse_args(arguments)
    _configure_libraries()
    with interruptible() as interrupts:
        try:
            return _run(options)
        except KeyboardInterrupt:
            print("labelwright: interrupted", file=sys.stderr)
            return 128 + interrupts.number


def _run(options: argparse.Namespace) -> int:
    try:
        options.run(options)
        sys.stdout.flush()
    except LabelwrightError as error:
        print(f"labelwright: {error}", file=sys.stderr)
        return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)
    except ModuleNotFoundError as error:
        print(
            f"labelwright: this command needs {error.name}, which is not installed; "
            "install requirements/train.txt",
            file=sys.stderr,
        )
        return EXIT_CODES[LabelwrightError]
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def _configure_libraries() -> None:
    """Set options that libraries read when they are imported, unless the environment sets them.

    MLflow logs only errors. Waiting threads of OpenMP (LightGBM) sleep; by default they spin, and
    LightGBM was then ten times slower on a busy machine. The garbage collector runs less often,
    because it needed a quarter of the import time, although imported objects are never garbage.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    gc.set_threshold(50_000, 20, 20)
    warnings.filterwarnings("ignore", module="mlflow")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    logging.getLogger("alembic").setLevel(logging.ERROR)


if __name__ == "__main__":
    sys.exit(main())
