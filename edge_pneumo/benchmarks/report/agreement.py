"""Does the int8 network answer as the float one does, film by film?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edge_pneumo.benchmarks.results import describe


def agreements(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each result file with both, the first int8 entry against a float32 one, of its backend if possible.

    Returns
    -------
    [{"device", "int8", "float", "n", "same_decision", "largest", "mean", "points": [[float, int8] …]}]; differences
    are of the probability, 0..1.
    """
    found = []
    for result in results:
        entries = [e for e in result["results"] if e["status"] == "ok" and e["probabilities"] and not e["software"]]
        small = next((e for e in entries if e["model"].get("precision") == "int8"), None)
        floats = [e for e in entries if e["model"].get("precision") == "float32"]
        large = next((e for e in floats if small and e["backend"] == small["backend"]), floats[0] if floats else None)
        if small is None or large is None:
            continue
        pairs = [
            (a, b) for a, b in zip(large["probabilities"], small["probabilities"], strict=False) if None not in (a, b)
        ]
        if not pairs:
            continue
        differences = [abs(a - b) for a, b in pairs]
        limits = (large.get("threshold") or 0.5, small.get("threshold") or 0.5)
        found.append(
            {
                "device": result["label"],
                "int8": describe(small),
                "float": describe(large),
                "n": len(pairs),
                "same_decision": sum((a >= limits[0]) == (b >= limits[1]) for a, b in pairs),
                "largest": round(max(differences), 4),
                "mean": round(sum(differences) / len(differences), 4),
                "thresholds": list(limits),
                "points": [list(pair) for pair in pairs],
            }
        )
    return found
