"""The manifests, against Kubernetes' own schemas, and against each other."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.deploy.files import KUBERNETES, manifests

CUSTOM = {"ServiceMonitor", "PodMonitor"}
"""Kinds of the Prometheus operator: not in Kubernetes' schemas."""
MANIFESTS = manifests()
VERSIONS = ("1.31", kubernetes_validate.latest_version())


def of(kind: str) -> list[dict[str, Any]]:
    return [manifest for manifest in MANIFESTS if manifest["kind"] == kind]


def name(manifest: dict[str, Any]) -> str:
    return f"{manifest['kind']} {manifest['metadata']['name']}"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", [m for m in MANIFESTS if m["kind"] not in CUSTOM], ids=name)
def test_schemas_hold(manifest: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


def test_kustomize_builds_all_of_them() -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    done = subprocess.run([kubectl, "kustomize", KUBERNETES], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    built = list(yaml.safe_load_all(done.stdout))
    plain = {name(manifest) for manifest in MANIFESTS if manifest["kind"] not in CUSTOM}
    (config,) = [manifest for manifest in built if manifest["kind"] == "ConfigMap"]
    assert {name(manifest) for manifest in built if manifest is not config} == plain
    for manifest in built:
        if manifest["kind"] == "Deployment":
            (container,) = manifest["spec"]["template"]["spec"]["containers"]
            assert container["image"] == "registry.example/animax:0.1.0"
            # the map's name holds its hash, so that a change of it starts the pods anew
            assert container["envFrom"][0]["configMapRef"]["name"] == config["metadata"]["name"]
            used = {word[2:-1] for option in container["args"] if (word := option.partition("=")[2]).startswith("$(")}
            assert used == set(config["data"])
        if manifest["kind"] != "Namespace":
            assert manifest["metadata"]["namespace"] == "animax"
    kubernetes_validate.validate(config, VERSIONS[-1], strict=True)


def test_the_kustomization_forgets_no_file() -> None:
    for folder in (KUBERNETES, KUBERNETES / "monitoring"):
        kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
        assert sorted(kustomization["resources"]) == sorted(
            path.name for path in folder.glob("*.yaml") if path.name != "kustomization.yaml"
        )


def test_selectors_find_their_pods() -> None:
    pods = [manifest["spec"]["template"] for manifest in of("Deployment")]

    def found(labels: dict[str, str]) -> list[dict[str, Any]]:
        return [pod for pod in pods if labels.items() <= pod["metadata"]["labels"].items()]

    for manifest in of("Deployment"):
        assert len(found(manifest["spec"]["selector"]["matchLabels"])) == 1
    (service,) = of("Service")
    (server,) = found(service["spec"]["selector"])
    ports = {port["name"] for port in server["spec"]["containers"][0]["ports"]}
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    assert found(of("PodDisruptionBudget")[0]["spec"]["selector"]["matchLabels"]) == [server]
    assert len(found(of("NetworkPolicy")[0]["spec"]["podSelector"]["matchLabels"])) == 2
    (monitor,) = of("ServiceMonitor")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert {end["port"] for end in monitor["spec"]["endpoints"]} <= {port["name"] for port in service["spec"]["ports"]}
    (pod_monitor,) = of("PodMonitor")
    assert len(found(pod_monitor["spec"]["selector"]["matchLabels"])) == 1
    (autoscaler,) = of("HorizontalPodAutoscaler")
    assert autoscaler["spec"]["scaleTargetRef"]["name"] in {m["metadata"]["name"] for m in of("Deployment")}
    # fewer would let the disruption budget hold up every eviction
    assert autoscaler["spec"]["minReplicas"] > of("PodDisruptionBudget")[0]["spec"]["minAvailable"]


@pytest.mark.parametrize("manifest", of("Deployment"), ids=name)
def test_pods_are_as_restricted_as_their_namespace_asks(manifest: dict[str, Any]) -> None:
    pod = manifest["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"startupProbe", "livenessProbe", "resources"} <= set(container)
        ports = {port["name"] for port in container["ports"]}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if "httpGet" in container.get(probe, {}):
                assert container[probe]["httpGet"]["port"] in ports
                assert container[probe]["httpGet"]["path"] in ("/healthz", "/readyz")


def test_liveness_is_not_health() -> None:
    """A server whose engine recovers, or that drains, is NOT_SERVING, and must not be killed for it."""
    for manifest in of("Deployment"):
        (container,) = manifest["spec"]["template"]["spec"]["containers"]
        assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
