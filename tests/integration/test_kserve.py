"""Tests of the service with the official KServe client, in a separate environment."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import Service

pytest_plugins = ["tests.worlds"]
pytestmark = pytest.mark.integration

REQUIREMENTS = Path(__file__).parent / "requirements" / "kserve.txt"
ENVIRONMENTS = Path(__file__).parents[2] / "build" / "clients"
SCRIPT = """
import asyncio, json, sys
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

async def main(url):
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    found = {
        "live": await client.is_server_live(url),
        "ready": await client.is_server_ready(url),
        "model": await client.is_model_ready(url, "small"),
        "other": await client.is_model_ready(url, "large"),
    }
    for binary in (False, True):
        names = InferInput("name", [2], "BYTES")
        names.set_data_from_numpy(np.array(["Joe's Pizza", "Kiosk"], object), binary_data=binary)
        request = InferRequest("small", [names], parameters={"top_k": 2})
        response = await client.infer(url, request, model_name="small")
        rows = response.outputs[0].as_numpy().tolist()
        found["binary" if binary else "json"] = [json.loads(row) for row in rows]
    await client.close()
    print(json.dumps(found))

asyncio.run(main(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def python() -> str:
    """The interpreter of an environment with the KServe client."""
    if not REQUIREMENTS.exists():
        pytest.skip("make requirements has not pinned KServe's client")
    stamp = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()
    home = ENVIRONMENTS / f"kserve-{stamp[:16]}"
    interpreter, done = home / "bin" / "python", home / ".installed"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
        install = ("pip", "install", "--quiet", "--no-deps", "--require-hashes")
        pins = ("-r", str(REQUIREMENTS))
        subprocess.run([str(interpreter), "-m", *install, *pins], check=True)
        done.touch()
    return str(interpreter)


def test_the_kserve_client_gets_the_labels_of_the_service(python: str, service: Service) -> None:
    ran = subprocess.run([python, "-c", SCRIPT, service.url], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])
    with service.client() as client:
        entities = [{"name": "Joe's Pizza"}, {"name": "Kiosk"}]
        body = {"entities": entities, "top_k": 2}
        results = client.post("/v1/labels", json=body).json()["results"]
    expected = [{"id": result["id"], "labels": result["labels"]} for result in results]
    assert found == {
        "live": True,
        "ready": True,
        "model": True,
        "other": False,
        "json": expected,
        "binary": expected,
    }
