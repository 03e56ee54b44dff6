"""Table of all environment variables that labelwright reads."""

import textwrap

SETTINGS = {
    "LABELWRIGHT_HOME": "state folder: MLflow's database and artifacts, the bundle cache, "
    "corrections, API keys (default: the user's data folder)",
    "MLFLOW_TRACKING_URI": "tracking server or database to use in place of the database in "
    "LABELWRIGHT_HOME",
    "LABELWRIGHT_MODEL": "URI of the model that `serve` serves if --model is not given",
    "LABELWRIGHT_CORRECTIONS": "database of corrections, sqlite:///PATH or "
    "postgresql://USER@HOST/NAME (default: a SQLite database in LABELWRIGHT_HOME)",
    "LABELWRIGHT_CORRECTIONS_KEEP": "how long corrections are kept, for example 365d (default: "
    "without limit)",
    "LABELWRIGHT_MLFLOW_UI": "address of the MLflow UI for the links of the page (default: the "
    "tracking server, if it has an HTTP address)",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "collector that `serve` sends traces to; OpenTelemetry's other "
    "variables are read too (default: no traces are sent)",
    "RAY_ADDRESS": "cluster for `label --engine ray` (default: Ray is started on this machine)",
    "NUMBA_CACHE_DIR": "folder of compiled kernels (default: beside the code)",
}


def settings_table() -> str:
    """The table as text in lines of at most 98 characters, for `labelwright --help`."""
    width = max(map(len, SETTINGS)) + 2
    return "\n".join(
        textwrap.fill(words, 98, initial_indent=name.ljust(width), subsequent_indent=" " * width)
        for name, words in SETTINGS.items()
    )
