"""Coverage-guided fuzzing: `python -m tests.fuzz.guided DECODER BUNDLE [options of libFuzzer]`.

The process ends with a traceback at the first input that is neither decoded nor refused.
"""

import pkgutil
import sys
from pathlib import Path

import atheris

import labelwright.models

# Atheris includes whole packages only. Numba cannot compile instrumented kernels.
NOT_INSTRUMENTED = [
    "labelwright.models",
    *(
        module.name
        for module in pkgutil.walk_packages(labelwright.models.__path__, "labelwright.models.")
    ),
]

with atheris.instrument_imports(
    include=["labelwright"], exclude=NOT_INSTRUMENTED, enable_loader_override=False
):
    from labelwright.models.bundle.format import read_bundle
    from labelwright.models.registry import Model
    from tests.fuzz.seeds import SEEDS
    from tests.fuzz.targets import decode_or_refuse


def main() -> None:
    """Run libFuzzer, which ends the process."""
    name, folder, corpus, *options = sys.argv[1:]
    model = Model(read_bundle(Path(folder)), folder)
    model.bundle.labeler.warm_up()
    for number, seed in enumerate(SEEDS[name]):
        Path(corpus, f"seed-{number}").write_bytes(seed)

    def once(body: bytes) -> None:
        decode_or_refuse(name, model, body)

    atheris.Setup([sys.argv[0], corpus, *options], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
