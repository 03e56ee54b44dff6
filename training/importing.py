"""Import of a model: registration of a bundle that was trained elsewhere."""

import dataclasses
from collections.abc import Sequence

from labelwright.entities.io.files import temporary_folder
from labelwright.entities.io.locations import LocationLike, locate
from labelwright.models.bundle.archive import read_archive
from labelwright.models.bundle.format import Bundle
from labelwright.training.reporting.description import describe_model
from labelwright.training.reporting.markdown import code, plain
from labelwright.training.tracking import environment, gate, record, runs, versions

ORIGIN = "labelwright.imported"
"""Tag with the name that an imported model was trained as; "unknown" if it is not stated."""
ORIGIN_VERSION = "labelwright.imported_from"
"""Tag with the version of labelwright that trained an imported model."""
_UNJUDGED = "there are no test rows to compare an imported model on"


@dataclasses.dataclass(frozen=True)
class Origin:
    """The name that a model was trained as, and the version of labelwright that trained it."""

    name: str
    version: str


@dataclasses.dataclass(frozen=True)
class Imported:
    """The result of an import; `content` is the content hash of the model."""

    registered: record.Registered
    content: str
    origin: Origin
    verdict: gate.Verdict
    warnings: Sequence[str]


def import_model(file: LocationLike, name: str, promote: bool | None = None) -> Imported:
    """Register the model of an archive as a new version of the model `name`.

    The version becomes the champion if `promote` is true, or if it is None and there is no
    champion. The promotion gate does not judge the version. The archive is checked before anything
    is registered. Raises DataError, ModelNotFoundError, BundleError, RegistryError or StorageError.
    """
    record.check_name(name)
    source = locate(file)
    with temporary_folder() as folder:
        bundle = read_archive(source, folder / "bundle")
        content, schema, origin = bundle.manifest.content, bundle.labeler.schema, _origin(bundle)
        tags = {record.CONTENT: content, ORIGIN: origin.name, ORIGIN_VERSION: origin.version}
        wheel = environment.find_wheel()
        run_record = record.Record({"schema": schema.name}, tags, schema, folder / "bundle")
        with runs.active_run(runs.experiment_id_of(name)) as run:
            model = record.write_run(run, run_record, wheel.path)
            with versions.promotion_lock():
                verdict = _decide(name, promote)
                description = _describe(bundle, origin, verdict)
                run.log(tags={record.DESCRIPTION: description})
                version = record.Version(
                    description, tags | versions.not_judged_tags(verdict), describe_model(schema)
                )
                registered = record.register(run, name, model, version)
                if verdict.promoted:
                    versions.make_champion(name, registered.version)
    return Imported(registered, content, origin, verdict, wheel.warnings)


def _origin(bundle: Bundle) -> Origin:
    manifest = bundle.manifest
    return Origin(_stated(manifest.details.get("name")), _stated(manifest.labelwright))


def _stated(text: object) -> str:
    """A text of a manifest, which strangers can have written; "unknown" if it cannot be shown."""
    usable = isinstance(text, str) and text.isprintable() and 0 < len(text) <= record.NAME_LIMIT
    return str(text) if usable else "unknown"


def _decide(name: str, promote: bool | None) -> gate.Verdict:
    """Whether an imported version becomes the champion, and the reason."""
    if promote is not None:
        option = "--promote" if promote else "--no-promote"
        return gate.Verdict(promote, f"{option} was given; {_UNJUDGED}")
    champion = versions.current_champion(name)
    if champion is None:
        return gate.Verdict(True, f"there is no champion yet; {_UNJUDGED}")
    return gate.Verdict(
        False,
        f"version {champion} is the champion, and {_UNJUDGED}: compare them with `labelwright "
        "diff`, then use `labelwright promote`",
    )


def _describe(bundle: Bundle, origin: Origin, verdict: gate.Verdict) -> str:
    """Markdown text about an imported version."""
    labeler = bundle.labeler
    decision = "Promoted" if verdict.promoted else "Not promoted"
    return (
        f"{decision}: {plain(verdict.reason)}.\n\n"
        f"Imported. The model was trained as {code(origin.name)} by labelwright "
        f"{code(origin.version)}; its content hash is {code(bundle.manifest.content)}. It labels "
        f"entities of the schema {code(labeler.schema.name)} and knows {len(labeler.labels):,} "
        "labels."
    )
