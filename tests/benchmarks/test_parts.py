"""Comparison of hand-written parts of the service with alternatives from libraries."""

import math
from pathlib import Path

import pytest

from benchmarks.alternatives import ALTERNATIVES
from benchmarks.parts import compare
from benchmarks.parts_page import CPU, FIGURES, GOODPUT, MEMORY, Comparison, document
from tests.conftest import World

PART = "connection"
ALTERNATIVE = [100.0, 110.0, 90.0, 105.0]


def compared(ratios: list[float], more_is_better: bool = False) -> Comparison:
    figure = GOODPUT if more_is_better else CPU
    current = [ratio * other for ratio, other in zip(ratios, ALTERNATIVE, strict=True)]
    return Comparison(PART, figure, current, ALTERNATIVE)


def test_the_interval_agrees_with_students_t_of_the_logarithms() -> None:
    deviations = [-0.02, 0.02, -0.02, 0.02]
    ratio, low, high = compared([0.8 * math.exp(one) for one in deviations]).interval
    margin = 3.182446 * math.sqrt(4 * 0.02**2 / 3) / math.sqrt(4)  # t of 3 degrees of freedom
    assert ratio == pytest.approx(0.8)
    assert low == pytest.approx(0.8 * math.exp(-margin))
    assert high == pytest.approx(0.8 * math.exp(margin))


@pytest.mark.parametrize(
    ("ratios", "less", "more"),
    [
        ([0.8, 0.81, 0.79, 0.8], "gain", "loss"),
        ([1.2, 1.21, 1.19, 1.2], "loss", "gain"),
        ([0.9, 1.1, 0.95, 1.05], "no difference shown", "no difference shown"),
    ],
)
def test_a_gain_is_an_interval_on_the_better_side_of_one(
    ratios: list[float], less: str, more: str
) -> None:
    assert compared(ratios).verdict == less
    assert compared(ratios, more_is_better=True).verdict == more


def test_every_part_has_figures() -> None:
    assert set(FIGURES) == set(ALTERNATIVES)


def test_the_page_marks_the_figure_that_decides() -> None:
    ratios = [0.8, 0.81, 0.79, 0.8]
    page = document(
        {"date": "today"}, [], [compared(ratios), compared(ratios, more_is_better=True)]
    )
    assert f"| {PART} | {CPU.title} | 82 | 102 | 0.800 |" in page
    assert f"| {PART} | **{GOODPUT.title}** | 82 | 102 | 0.800 |" in page


@pytest.mark.integration
def test_each_part_is_compared_with_its_alternative(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABELWRIGHT_HOME", str(world.home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("benchmarks.parts.BLOCK", 10)
    *_, found = compare(world.uri, list(ALTERNATIVES), 2, tmp_path)
    assert {(one.part, one.figure) for one in found} >= {(p, FIGURES[p][0]) for p in ALTERNATIVES}
    assert all(value > 0 for one in found for value in (*one.current, *one.alternative))
    (memory,) = (one for one in found if one.figure == MEMORY)
    assert max(memory.current) < min(memory.alternative)
