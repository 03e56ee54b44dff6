"""Virtual environments of the peers, created on demand from pinned requirements."""

import hashlib
import shutil
import sys
from pathlib import Path

from benchmarks.processes import ProcessError, ProcessTimeoutError, run_measured

ROOT = Path(__file__).parents[1]
REQUIREMENTS = Path(__file__).parent / "requirements"
TIMEOUT = 900.0
"""Time limit of each step of an installation, in seconds."""


class NotInstalledError(Exception):
    """A peer cannot be installed on this machine; the message gives the reason."""


def interpreter(
    environment: str | None,
    folder: Path,
    requirements: Path = REQUIREMENTS,
    from_source: str = ":none:",
) -> str:
    """The Python interpreter of an environment; None is the environment of this process.

    An environment that does not exist below `folder`, or whose pins have changed, is created from
    `requirements/ENVIRONMENT.txt`. Only the package `from_source` may be built from source; all
    other packages are installed from wheels. Raises NotInstalledError.
    """
    if environment is None:
        return sys.executable
    pinned = requirements / f"{environment}.txt"
    pins = pinned.read_bytes() + sys.version.encode()
    home, digest = folder / environment, hashlib.sha256(pins).hexdigest()
    python, marker = home / "bin" / "python", home / ".installed"
    if marker.exists() and marker.read_text("utf-8") == digest:
        return str(python)
    shutil.rmtree(home, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    install = (
        *(str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"),
        *("--only-binary", ":all:", "--no-binary", from_source, "-r", str(pinned)),
    )
    for command in ((sys.executable, "-m", "venv", str(home)), install):
        try:
            run_measured(command, TIMEOUT, folder / f"{environment}.log")
        except (ProcessTimeoutError, ProcessError) as error:
            raise NotInstalledError(f"not installed: {error}") from error
    marker.write_text(digest, "utf-8")
    return str(python)
