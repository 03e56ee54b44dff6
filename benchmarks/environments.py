"""Virtual environments, one for each peer, made on demand from pinned requirements."""

import hashlib
import shutil
import sys
from pathlib import Path

from benchmarks.processes import OutOfTimeError, ProcessError, run_measured

ROOT = Path(__file__).parents[1]
REQUIREMENTS = Path(__file__).parent / "requirements"
PATIENCE = 900.0


class NotInstalledError(Exception):
    """A peer cannot be installed here; the message says why."""


def interpreter(
    environment: str | None,
    folder: Path,
    requirements: Path = REQUIREMENTS,
    from_source: str = ":none:",
) -> str:
    """The Python of an environment, which is made below `folder` where it is missing.

    Its pins lie in `requirements`; nothing but the package `from_source` is built. None is the
    environment of this process. Raises NotInstalledError.
    """
    if environment is None:
        return sys.executable
    pinned = requirements / f"{environment}.txt"
    pins = pinned.read_bytes() + sys.version.encode()
    home, stamp = folder / environment, hashlib.sha256(pins).hexdigest()
    python, done = home / "bin" / "python", home / ".installed"
    if done.exists() and done.read_text("utf-8") == stamp:
        return str(python)
    shutil.rmtree(home, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    install = (
        *(str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"),
        *("--only-binary", ":all:", "--no-binary", from_source, "-r", str(pinned)),
    )
    for command in ((sys.executable, "-m", "venv", str(home)), install):
        try:
            run_measured(command, PATIENCE, folder / f"{environment}.log")
        except (OutOfTimeError, ProcessError) as error:
            raise NotInstalledError(f"not installed: {error}") from error
    done.write_text(stamp, "utf-8")
    return str(python)
