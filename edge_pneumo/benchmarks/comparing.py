"""Is B faster than A? Ratios of medians with bootstrap intervals, and a verdict that dares to say "cannot tell"."""

from __future__ import annotations

from collections import Counter
from typing import Any

from edge_pneumo.benchmarks.results import SCHEMA, describe, entry_key
from edge_pneumo.benchmarks.stats import ratio_of_medians

NOISE = 0.03
"""Differences below this are never called: two runs of the same program on the same machine differ by as much, which
no interval from within one run can see."""

BETWEEN_RUNS = "An interval here comes from samples within each run. Repeat both runs if a decision hangs on it."


def compare_results(before: dict[str, Any], after: dict[str, Any], *, noise: float = NOISE) -> dict[str, Any]:
    """Compare two result files, combination by combination.

    Entries are paired by model, precision, backend, threads and batch; where the model's name is all that differs, and
    each file has one model of that precision, by the rest.

    Returns
    -------
    {"schema", "before", "after" (labels), "rows": [{"name", "stages": {stage: {"before_ms", "after_ms", "ratio":
    {value, low, high}}}, "verdict": "faster|slower|cannot tell", "why"}], "only_before", "only_after", "verdict",
    "note"}. Ratios are after / before: below 1 is faster.
    """
    left, right = _measured(before), _measured(after)
    pairs = [(left[key], right[key]) for key in left if key in right]
    if not pairs:
        loose_left, loose_right = _without_name(left), _without_name(right)
        pairs = [(loose_left[key], loose_right[key]) for key in loose_left if key in loose_right]
    used = {id(entry) for pair in pairs for entry in pair}
    rows = [_row(a, b, noise) for a, b in pairs]
    counts = Counter(row["verdict"] for row in rows)
    return {
        "schema": SCHEMA,
        "before": before["label"],
        "after": after["label"],
        "same_device": before["device"].get("cpu") == after["device"].get("cpu")
        and before["device"].get("board") == after["device"].get("board"),
        "rows": rows,
        "only_before": [describe(entry) for entry in left.values() if id(entry) not in used],
        "only_after": [describe(entry) for entry in right.values() if id(entry) not in used],
        "verdict": overall(counts),
        "note": BETWEEN_RUNS,
    }


def overall(counts: Counter[str]) -> str:
    """One word for all rows: only unanimous rows are called."""
    if not counts:
        return "nothing to compare"
    decided = {word for word in ("faster", "slower") if counts[word]}
    if len(decided) == 2:
        return "mixed"
    return decided.pop() if decided and not counts["cannot tell"] else "cannot tell" if not decided else "mixed"


def _measured(result: dict[str, Any]) -> dict[tuple, dict[str, Any]]:
    return {entry_key(entry): entry for entry in result["results"] if entry["status"] == "ok"}


def _without_name(entries: dict[tuple, dict[str, Any]]) -> dict[tuple, dict[str, Any]]:
    """Entries by key without the model's name, where that is still one entry."""
    counts = Counter(key[1:] for key in entries)
    return {key[1:]: entry for key, entry in entries.items() if counts[key[1:]] == 1}


def _row(before: dict[str, Any], after: dict[str, Any], noise: float) -> dict[str, Any]:
    stages = {"total": _ratio(before["samples_ms"], after["samples_ms"])}
    for stage, samples in (before.get("samples_by_stage_ms") or {}).items():
        other = (after.get("samples_by_stage_ms") or {}).get(stage)
        if other:
            stages[stage] = _ratio(samples, other)
    verdict, why = judge(stages["total"]["ratio"], before, after, noise)
    name = describe(before) if entry_key(before) == entry_key(after) else f"{describe(before)} → {describe(after)}"
    return {"name": name, "stages": stages, "verdict": verdict, "why": why}


def _ratio(before: list[float], after: list[float]) -> dict[str, Any]:
    middle = [round(sorted(samples)[len(samples) // 2], 4) for samples in (before, after)]
    ratio = ratio_of_medians(before, after) if min(middle) > 0 else None
    return {"before_ms": middle[0], "after_ms": middle[1], "ratio": ratio}


def judge(
    ratio: dict[str, float] | None, before: dict[str, Any], after: dict[str, Any], noise: float
) -> tuple[str, str]:
    """Verdict on the total, and why."""
    if ratio is None:
        return "cannot tell", "a median of 0 ms"
    software = [side for side, entry in (("before", before), ("after", after)) if entry["software"]]
    if software:
        return "cannot tell", f"software GPU ({' and '.join(software)}): its speed says nothing"
    shaky = [side for side, entry in (("before", before), ("after", after)) if entry["unstable"]]
    limit = noise + (0.10 if shaky else 0.0)
    remark = f"; {' and '.join(shaky)} unstable, so 10 % more is asked" if shaky else ""
    if ratio["high"] < 1 - limit:
        return "faster", f"the interval {ratio['low']:.3f} to {ratio['high']:.3f} lies below {1 - limit:.2f}{remark}"
    if ratio["low"] > 1 + limit:
        return "slower", f"the interval {ratio['low']:.3f} to {ratio['high']:.3f} lies above {1 + limit:.2f}{remark}"
    within = f"the interval {ratio['low']:.3f} to {ratio['high']:.3f} reaches into {1 - limit:.2f} to {1 + limit:.2f}"
    return "cannot tell", within + remark


def comparison_text(comparison: dict[str, Any]) -> str:
    """The comparison for a terminal."""
    lines = [f"{comparison['after']} against {comparison['before']} (ratio below 1: {comparison['after']} is faster)"]
    if not comparison["same_device"]:
        lines.append("The devices differ: this compares devices, not versions of the program.")
    for row in comparison["rows"]:
        total = row["stages"]["total"]
        ratio = total["ratio"]
        shown = f"{ratio['value']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]" if ratio else "–"
        lines += [
            f"  {row['name']}",
            f"    total {total['before_ms']:.3g} -> {total['after_ms']:.3g} ms   x {shown}",
            f"    {row['verdict']}: {row['why']}",
        ]
    for side, names in (("before", comparison["only_before"]), ("after", comparison["only_after"])):
        lines += [f"  only in {comparison[side]}: {name}" for name in names]
    return "\n".join([*lines, f"verdict: {comparison['verdict']}", comparison["note"]]) + "\n"
