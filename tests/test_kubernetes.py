"""The file deploy/kubernetes.yaml matches the schemas of Kubernetes, the images and the code."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from labelwright.__main__ import parser
from labelwright.service.middleware.access import keyring

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "deploy" / "kubernetes.yaml").read_text("utf-8")
RESOURCES: list[Mapping[str, Any]] = list(yaml.safe_load_all(TEXT))
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
VERSIONS = ("1.33", "1.37")
"""Kubernetes versions whose schemas are checked."""


def of_kind(kind: str) -> list[Mapping[str, Any]]:
    return [resource for resource in RESOURCES if resource["kind"] == kind]


def pods() -> Iterator[Mapping[str, Any]]:
    """The pod specifications of all resources."""
    for resource in of_kind("Deployment"):
        yield resource["spec"]["template"]["spec"]
    for resource in of_kind("CronJob"):
        yield resource["spec"]["jobTemplate"]["spec"]["template"]["spec"]


def containers() -> Iterator[Mapping[str, Any]]:
    for pod in pods():
        yield from pod.get("initContainers", [])
        yield from pod["containers"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("resource", RESOURCES, ids=lambda each: str(each["kind"]))
def test_resources_match_their_schemas(resource: Mapping[str, Any], version: str) -> None:
    assert kubernetes_validate.validate(dict(resource), version, strict=True)


def test_unknown_fields_fail_the_schema_check() -> None:
    (deployment,) = of_kind("Deployment")
    wrong = {**deployment, "spec": {**deployment["spec"], "replica": 2}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_containers_are_unprivileged_with_a_read_only_root() -> None:
    for pod in pods():
        assert pod["automountServiceAccountToken"] is False
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True
        assert f"--uid {context['runAsUser']}" in DOCKERFILE
        assert f"--gid {context['runAsGroup']}" in DOCKERFILE
    for container in containers():
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        assert "memory" in container["resources"]["limits"]


def test_mounts_claims_and_selectors_refer_to_existing_resources() -> None:
    claims = {each["metadata"]["name"] for each in of_kind("PersistentVolumeClaim")}
    settings = {each["metadata"]["name"] for each in of_kind("ConfigMap")}
    for pod in pods():
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        for volume in volumes.values():
            claim = volume.get("persistentVolumeClaim")
            assert claim is None or claim["claimName"] in claims
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= set(volumes)
            for source in container.get("envFrom", []):
                assert source["configMapRef"]["name"] in settings
    (deployment,), (service,), (budget,) = map(
        of_kind, ("Deployment", "Service", "PodDisruptionBudget")
    )
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for selector in (
        deployment["spec"]["selector"]["matchLabels"],
        service["spec"]["selector"],
        budget["spec"]["selector"]["matchLabels"],
    ):
        assert selector == labels


def test_corrections_and_keys_are_stored_outside_pods() -> None:
    """Corrections are in a database, which training reads too. Keys are in a Secret."""
    (settings,), (deployment,), (job,) = map(of_kind, ("ConfigMap", "Deployment", "CronJob"))
    assert settings["data"]["LABELWRIGHT_CORRECTIONS"].startswith("postgresql://")
    (service,) = deployment["spec"]["template"]["spec"]["containers"]
    (training,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    for container in (service, training):
        (password,) = container["env"]
        assert password["name"] == "PGPASSWORD"
        assert password["valueFrom"]["secretKeyRef"]["name"] == "labelwright"
    assert parser().parse_args(training["args"][1:]).feedback is not None
    (state,) = (at["mountPath"] for at in service["volumeMounts"] if at["name"] == "state")
    (keys,) = (at for at in service["volumeMounts"] if at["name"] == "keys")
    assert Path(keys["mountPath"]) == Path(state) / keyring().path.name
    assert keys["readOnly"]


def test_probes_match_the_service_and_shutdown_has_enough_time() -> None:
    (deployment,) = of_kind("Deployment")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    given = parser().parse_args(container["args"][1:])
    assert given.host == "0.0.0.0"  # noqa: S104
    assert [port["containerPort"] for port in container["ports"]] == [given.port]
    for probe, path in (("startup", "/readyz"), ("readiness", "/readyz"), ("liveness", "/livez")):
        assert container[f"{probe}Probe"]["httpGet"] == {"path": path, "port": "http"}
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][-1])
    assert (
        pod["terminationGracePeriodSeconds"] > pause + 30
    )  # seconds that the server gives to open requests
    assert of_kind("CronJob")[0]["spec"]["concurrencyPolicy"] == "Forbid"
