"""What the environment may say: every variable that this project reads or heeds, in one table."""

import textwrap

SETTINGS = {
    "LABELWRIGHT_HOME": "folder of all state: MLflow's database and artifacts, the cache of "
    "bundles, corrections, keys (default: the user's data folder)",
    "MLFLOW_TRACKING_URI": "another tracking server or database than the one in LABELWRIGHT_HOME",
    "LABELWRIGHT_MODEL": "the model that `serve` serves without --model",
    "LABELWRIGHT_CORRECTIONS": "where corrections lie, sqlite:///PATH or "
    "postgresql://USER@HOST/NAME, instead of in LABELWRIGHT_HOME",
    "LABELWRIGHT_CORRECTIONS_KEEP": "how long corrections are kept, like 365d (default: for ever)",
    "LABELWRIGHT_MLFLOW_UI": "where browsers find the MLflow UI, which the page links to (default: "
    "the tracking server, if there is one)",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "where `serve` sends traces to; OpenTelemetry's other variables "
    "hold too (default: nowhere)",
    "RAY_ADDRESS": "the cluster that `label --engine ray` uses (default: one on this machine)",
    "NUMBA_CACHE_DIR": "where compiled kernels lie (default: beside the code)",
}


def listed() -> str:
    """The table as lines of at most 100 characters, as `labelwright --help` ends."""
    width = max(map(len, SETTINGS)) + 2
    return "\n".join(
        textwrap.fill(words, 98, initial_indent=name.ljust(width), subsequent_indent=" " * width)
        for name, words in SETTINGS.items()
    )
