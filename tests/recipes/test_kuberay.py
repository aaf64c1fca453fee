"""recipes/cluster/kuberay.yaml: the fields that matter. KubeRay's own schema of a RayJob is too large to keep here."""

from __future__ import annotations

import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from vsumdata.pipeline.commands.main import app

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes/cluster/kuberay.yaml"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    value = yaml.safe_load(RECIPE.read_text())
    assert value["apiVersion"] == "ray.io/v1"
    assert value["kind"] == "RayJob"
    return value["spec"]


@pytest.fixture(scope="module")
def cluster(job) -> dict[str, Any]:
    return job["rayClusterSpec"]


def containers(cluster: dict[str, Any]) -> list[dict[str, Any]]:
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [container for group in groups for container in group["template"]["spec"]["containers"]]


def test_the_entrypoint_is_a_run_of_ours(job) -> None:
    program, *words = shlex.split(job["entrypoint"])
    assert program == "vsumdata"
    command = typer.main.get_command(app)
    context = command.make_context("vsumdata", list(words))
    name, found, rest = command.resolve_command(context, words)  # type: ignore[attr-defined]
    run = found.make_context(name, rest, parent=context).params
    assert name == "run"
    assert "://" in run["root"], "pods share no folder"
    assert run["address"] is None, "the job's own RAY_ADDRESS counts"
    # KubeRay puts the text into a shell of the submitter's pod, which would expand a variable to nothing.
    assert "$" not in job["entrypoint"]
    gpus = [setting for setting in run["set_"] if setting.endswith(".gpus=1")]
    assert len(gpus) == 2, "`auto` sees no GPU before the first machine has started"


def test_the_cluster_goes_with_the_run(job) -> None:
    assert job["shutdownAfterJobFinishes"] is True
    assert job["backoffLimit"] > 0


def test_both_groups_grow_and_shrink(cluster) -> None:
    assert cluster["enableInTreeAutoscaling"] is True
    groups = {group["groupName"]: group for group in cluster["workerGroupSpecs"]}
    assert set(groups) == {"cpu", "gpu"}
    for group in groups.values():
        assert 0 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        assert group["maxReplicas"] > group["minReplicas"]
    assert groups["cpu"]["minReplicas"] >= 1, "visits need a CPU from the start"
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_only_the_gpu_group_asks_for_gpus(cluster) -> None:
    asked = [container["resources"]["limits"].get("nvidia.com/gpu") for container in containers(cluster)]
    assert asked == [None, None, "1"]


def test_images_are_of_this_version_and_of_its_ray(cluster) -> None:
    images = [container["image"] for container in containers(cluster)]
    assert images == [f"vsumdata:{PROJECT['version']}-{device}" for device in ("cpu", "cpu", "cuda")]
    assert any(text.startswith("ray[") and f">={cluster['rayVersion'][:4]}" in text for text in PROJECT["dependencies"])
    locked = (ROOT / "constraints.txt").read_text().splitlines()
    assert f"ray=={cluster['rayVersion']}" in locked


def test_every_pod_has_the_roots_credentials_and_no_more_rights_than_it_needs(cluster) -> None:
    for container in containers(cluster):
        assert container["envFrom"] == [{"secretRef": {"name": "vsumdata-root"}}]
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        assert {"cpu", "memory"} <= set(container["resources"]["limits"])
        assert "metrics" in {port["name"] for port in container["ports"]}
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        assert group["template"]["spec"]["securityContext"]["runAsNonRoot"] is True
    assert "AWS_SECRET_ACCESS_KEY:" not in RECIPE.read_text()
