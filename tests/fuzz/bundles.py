"""Fuzzing of the loader of bundles: `python -m tests.fuzz.bundles BUNDLE INPUTS SEED`.

Each input is a bundle with one damaged file. In every second input, the hashes in the manifest
match the damaged file, as in a forged bundle. The loader must refuse or read each bundle, without
running code and without crashing. The results are printed as JSON.
"""

import json
import random
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from labelwright.entities.errors import ModelError
from labelwright.models.bundle.format import MANIFEST, read_bundle
from tests.fuzz.mutations import mutated
from tests.models.bundles import sign

RUNS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "pickle.find_class", "exec")
"""Audit events of Python that show that a bundle runs code."""


def main() -> int:
    """Read damaged bundles and print the results; the exit code is 1 if a bundle ran code."""
    source, inputs, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    chance, slowest = random.Random(seed), 0.0
    ran: list[str] = []
    read_bundle(source)
    watching = False

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event in RUNS and not (event == "exec" and _imports(arguments[0], bundle)):
            ran.append(event)

    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder, "bundle")
        sys.addaudithook(watch)
        shutil.copytree(source, bundle)
        whole = {path: path.read_bytes() for path in bundle.iterdir()}
        began = time.perf_counter()
        for number in range(inputs):
            path = chance.choice(list(whole))
            path.write_bytes(mutated(whole[path], chance))
            if number % 2 and path.name != MANIFEST:
                sign(bundle)
            watching, since = True, time.perf_counter()
            try:
                read_bundle(bundle)
            except ModelError:
                pass
            finally:
                watching = False
            slowest = max(slowest, time.perf_counter() - since)
            for damaged in (path, bundle / MANIFEST):
                damaged.write_bytes(whole[damaged])
        seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    found = {"seconds": seconds, "slowest": slowest, "peak": peak, "ran": sorted(set(ran))}
    sys.stdout.write(json.dumps(found))
    return 1 if ran else 0


def _imports(code: Any, bundle: Path) -> bool:
    """Whether code is that of an installed module, which Python may import to format an error."""
    path = Path(getattr(code, "co_filename", ""))
    return path.is_file() and not path.is_relative_to(bundle)


if __name__ == "__main__":
    sys.exit(main())
