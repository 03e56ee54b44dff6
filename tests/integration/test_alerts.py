"""Tests of the metrics and the alert rules with promtool, a program of Prometheus."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
import yaml

from tests.integration.machines import need

pytest_plugins = ["tests.worlds"]
pytestmark = pytest.mark.integration

ALERTS = Path(__file__).parents[2] / "deploy" / "alerts.yaml"
PLACE = 'job="labelwright", instance="a"'
ROUTE = f'{PLACE}, route="/v1/labels"'
CASES: Mapping[str, Mapping[str, str]] = {
    "LabelwrightDown": {f"up{{{PLACE}}}": "0x120"},
    "LabelwrightWithoutModel": {f'labelwright_model_workers{{{PLACE}, version="1"}}': "0x120"},
    "LabelwrightFails": {
        f'labelwright_requests_total{{{PLACE}, status="200"}}': "0+97x120",
        f'labelwright_requests_total{{{PLACE}, status="500"}}': "0+3x120",
    },
    "LabelwrightSheds": {f"labelwright_shed_total{{{PLACE}}}": "0+1x120"},
    "LabelwrightSlow": {
        f'labelwright_request_seconds_bucket{{{ROUTE}, le="0.5"}}': "0+90x120",
        f'labelwright_request_seconds_bucket{{{ROUTE}, le="1"}}': "0+100x120",
        f'labelwright_request_seconds_bucket{{{ROUTE}, le="+Inf"}}': "0+100x120",
    },
    "LabelwrightWorkersDie": {f"labelwright_worker_restarts_total{{{PLACE}}}": "0+1x120"},
    "LabelwrightLosesMetrics": {f"labelwright_metrics_lost{{{PLACE}}}": "1x120"},
    "LabelwrightRefusesModel": {f"labelwright_swap_refusals_total{{{PLACE}}}": "0+1x120"},
    "LabelwrightServesTwoVersions": {
        f'labelwright_model_workers{{{PLACE}, version="{version}"}}': "1x120" for version in "12"
    },
    "LabelwrightRejectsEntities": {
        f'labelwright_rows_total{{{PLACE}, outcome="labelled"}}': "0+80x120",
        f'labelwright_rows_total{{{PLACE}, outcome="rejected"}}': "0+20x120",
    },
    "LabelwrightLessSure": {
        f"labelwright_top_probability_sum{{{PLACE}}}": "0+54x1440 77790+30x180",
        f"labelwright_top_probability_count{{{PLACE}}}": "0+60x1620",
    },
    "LabelwrightDrifts": {
        f'labelwright_drift_psi{{{PLACE}, kind="field", name="country"}}': "0.5x120"
    },
}
"""For each alert, samples that make it fire: one sample a minute for two hours or for 27 hours."""


@pytest.fixture(autouse=True)
def promtool() -> None:
    need({"promtool": "promtool: apt-get install prometheus"})


def test_promtool_accepts_the_metrics(client: httpx.Client) -> None:
    text = client.get("/metrics").content
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True)
    assert (done.returncode, done.stderr.decode()) == (0, "")


def test_every_alert_has_a_case() -> None:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    assert [rule["alert"] for rule in group["rules"]] == list(CASES)


@pytest.mark.parametrize("name", CASES)
def test_each_alert_fires_on_its_samples_alone(name: str, tmp_path: Path) -> None:
    firing = {
        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
        "eval_time": "27h" if "1440" in str(CASES[name]) else "90m",
        "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1}],
    }
    series = [{"series": each, "values": values} for each, values in CASES[name].items()]
    tests = [{"interval": "1m", "input_series": series, "promql_expr_test": [firing]}]
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "tests": tests}))
    done = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
