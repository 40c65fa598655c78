"""Percentiles, intervals, the stop rule and the verdict "unstable"."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edge_pneumo.benchmarks.stats import (
    StopRule,
    drift,
    instability,
    median_interval,
    ratio_of_medians,
    relative_half_width,
    summarise,
)

RNG = np.random.default_rng(3)
STEADY = list(10 + RNG.normal(0, 0.1, 400))


def test_summary_of_one_to_hundred_by_hand():
    # numpy's linear percentiles of 1..100: p50 = 50.5, p90 = 90.1, p99 = 99.01
    assert summarise(range(1, 101)) == {"p50": 50.5, "p90": 90.1, "p99": 99.01, "mean": 50.5, "n": 100}


def test_summary_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no samples"):
        summarise([])


def test_median_interval_covers_the_true_median_about_95_times_in_100():
    rng = np.random.default_rng(0)
    draws = rng.exponential(1.0, (1000, 60))
    hits = sum(low <= math.log(2) <= high for low, high in (median_interval(row) for row in draws))
    assert 930 <= hits <= 985


@pytest.mark.parametrize(
    ("samples", "expected"), [([], math.inf), ([5.0], math.inf), ([4.0] * 50, 0.0), ([0.0] * 50, math.inf)]
)
def test_relative_half_width_of_degenerate_samples(samples, expected):
    assert relative_half_width(samples) == expected


@pytest.mark.parametrize(
    ("samples", "elapsed_s", "stops"),
    [
        ([], 99.0, False),  # never without a sample
        ([10.0], 20.0, True),  # the time is up
        (STEADY, 1.0, False),  # too soon
        (STEADY, 2.0, True),
        (STEADY[:10], 5.0, False),  # too few
        (list(RNG.lognormal(0, 1, 100)), 5.0, False),  # too wide
    ],
)
def test_stop_rule(samples, elapsed_s, stops):
    assert StopRule(0.02, 2.0, 20.0).satisfied(samples, elapsed_s) is stops


def test_ratio_of_medians_finds_a_known_ratio_and_its_inverse():
    rng = np.random.default_rng(1)
    before, after = rng.gamma(50, 0.2, 500), rng.gamma(50, 0.3, 500)
    ratio = ratio_of_medians(before, after)
    assert ratio["low"] < 1.5 < ratio["high"]
    assert ratio["high"] - ratio["low"] < 0.15
    assert ratio_of_medians(after, before)["value"] == pytest.approx(1 / ratio["value"], rel=1e-3)


def test_ratio_of_nothing_is_refused():
    with pytest.raises(ValueError, match="both sides"):
        ratio_of_medians([], [1.0])


def test_drift_needs_samples_and_sees_a_slope():
    assert drift([1.0] * 20) == 0.0
    assert drift([10.0] * 20 + [11.0] * 20 + [12.0] * 20) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("samples", "more", "match"),
    [
        (STEADY, {"others_cores": 0.9}, "other processes kept 0.9 cores busy"),
        (STEADY, {"throttled": ["under-voltage now"]}, "the board throttled (under-voltage now)"),
        ([10.0] * 40 + [11.0] * 40 + [13.0] * 40, {}, "30% slower"),
        (list(np.random.default_rng(5).lognormal(0, 0.6, 60)), {}, "asked was ±2.0%"),
        ([10.0] * 90 + [100.0] * 10, {}, "p99 is 10.0 times the median"),
    ],
)
def test_unstable_says_why_and_what_next(samples, more, match):
    found = instability(samples, StopRule(), **more)
    assert found is not None
    assert match in found["reason"]
    assert found["next"].endswith(".")


def test_steady_samples_on_a_quiet_machine_are_stable():
    assert instability(STEADY, StopRule(), others_cores=0.05) is None
