"""Table of the environment variables of labelwright."""

import textwrap

SETTINGS = {
    "LABELWRIGHT_HOME": "state folder: MLflow's database and artifacts, the caches of bundles and "
    "embeddings, corrections, API keys, audit log (default: the user's data folder)",
    "MLFLOW_TRACKING_URI": "URI of an MLflow tracking server or database (default: the database in "
    "LABELWRIGHT_HOME)",
    "LABELWRIGHT_MODEL": "URI of the model for `serve` without --model",
    "LABELWRIGHT_CORRECTIONS": "URL of the database of corrections, sqlite:///PATH or "
    "postgresql://USER@HOST/NAME (default: a SQLite database in LABELWRIGHT_HOME)",
    "LABELWRIGHT_CORRECTIONS_KEEP": "age after which corrections are deleted, for example 365d "
    "(default: corrections are never deleted)",
    "LABELWRIGHT_MLFLOW_UI": "address of the MLflow UI that the service's page links to (default: "
    "the address of the tracking server, if that is an HTTP address)",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "address of the OpenTelemetry collector to which `serve` sends "
    "traces; OpenTelemetry's other variables are read too (default: no traces are sent)",
    "RAY_ADDRESS": "address of the Ray cluster for `label --engine ray` (default: a new cluster is "
    "started on this machine)",
    "NUMBA_CACHE_DIR": "folder for compiled kernels (default: beside the code)",
}


def settings_table() -> str:
    """Format the table for `labelwright --help`, in lines of at most 98 characters."""
    width = max(map(len, SETTINGS)) + 2
    return "\n".join(
        textwrap.fill(words, 98, initial_indent=name.ljust(width), subsequent_indent=" " * width)
        for name, words in SETTINGS.items()
    )
