"""What the measurements say, in sentences that a reader without a background can act on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edge_pneumo.benchmarks.comparing import judge
from edge_pneumo.benchmarks.report.clinic import waiting_s
from edge_pneumo.benchmarks.report.filters import digits
from edge_pneumo.benchmarks.report.options import ReportOptions
from edge_pneumo.benchmarks.results import describe
from edge_pneumo.benchmarks.stats import ratio_of_medians

OURS = ("cpu", "gpu", "tflite-runtime")


def best_entry(result: dict[str, Any]) -> dict[str, Any] | None:
    """The entry a clinic would use: our runtime, one film at a time, lowest median; never a software GPU.

    Any other entry if our runtime was not measured; None if nothing ran.
    """
    ran = [e for e in result["results"] if e["status"] == "ok" and not e["software"]]
    ours = [e for e in ran if e["backend"] in OURS and e["batch"] == 1 and e.get("reader", "ours") == "ours"]
    return min(ours or ran, key=lambda entry: entry["stages_ms"]["total"]["p50"], default=None)


def verdict_sentences(
    results: Sequence[dict[str, Any]], agreement: Sequence[dict[str, Any]], options: ReportOptions
) -> list[dict[str, str]]:
    """Sentences with a tone: "good", "plain" or "warn"."""
    said: list[dict[str, str]] = []
    for result in results:
        best = best_entry(result)
        if best is None:
            said.append(
                _say("warn", f"{result['label']}: nothing could be measured; the reasons are in the table below.")
            )
            continue
        said.append(_device_sentence(result["label"], best, options))
    said += _between_devices(results)
    for found in agreement:
        share = found["same_decision"] / found["n"]
        said.append(
            _say(
                "good" if share == 1 else "plain" if share >= 0.98 else "warn",
                f"{found['device']}: int8 and float decide alike on {found['same_decision']} of {found['n']} films; "
                f"their probabilities differ by at most {digits(found['largest'])}.",
            )
        )
    shaky = [e for r in results for e in r["results"] if e["unstable"]]
    total = sum(e["status"] == "ok" for r in results for e in r["results"])
    if shaky:
        said.append(
            _say(
                "warn",
                f"Unstable rows: {len(shaky)} of {total}. They should not be quoted; each says why.",
            )
        )
    made_up = [r["label"] for r in results if r["films"].get("source") == "phantom"]
    if made_up:
        whose = "" if len(made_up) == len(results) else f" ({', '.join(made_up)})"
        said.append(
            _say("plain", f"Measured on made-up films{whose}: the times are real, and nothing is said about accuracy.")
        )
    return said


def _device_sentence(label: str, best: dict[str, Any], options: ReportOptions) -> dict[str, str]:
    total = best["stages_ms"]["total"]
    wait = waiting_s(best["samples_ms"], options.films_per_day, options.hours_per_day)
    answer = f"{label} answers a film in {digits(total['p50'])} ms (99 of 100 within {digits(total['p99'])} ms)"
    load = f"{digits(options.films_per_day)} films in a day of {digits(options.hours_per_day)} hours"
    if wait is None:
        return _say("warn", f"{answer}: too slow for {load}.")
    if best["unstable"]:
        return _say("warn", f"{answer}, but this row is unstable: measure it again before it is quoted.")
    busy = options.films_per_day * total["mean"] / 1000 / (options.hours_per_day * 3600)
    if wait < 0.1:
        share = f"it is busy {digits(100 * busy)} % of the time"
        return _say("good", f"{answer}. With {load} no film waits noticeably: {share}.")
    return _say("plain", f"{answer}. With {load} a film waits {digits(wait)} s on average.")


def _between_devices(results: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """Each device against the fastest one, by ratio of medians with its interval."""
    ran = [(result["label"], best) for result in results if (best := best_entry(result)) is not None]
    if len(ran) < 2:
        return []
    ran.sort(key=lambda pair: pair[1]["stages_ms"]["total"]["p50"])
    fastest, reference = ran[0]
    said = []
    for label, entry in ran[1:]:
        ratio = ratio_of_medians(reference["samples_ms"], entry["samples_ms"])
        verdict, _ = judge(ratio, reference, entry, 0.03)
        interval = f"{digits(ratio['value'])} times (95 % interval {digits(ratio['low'])} to {digits(ratio['high'])})"
        if entry["unstable"] or reference["unstable"]:
            text = f"Between {fastest} and {label} nothing can be said: a row is unstable. It was {interval}."
        elif verdict == "cannot tell":
            text = f"Between {fastest} and {label} the measurements cannot tell which is faster: {interval}."
        else:
            what = f"{describe(entry)} with {describe(reference)}"
            text = f"{label} takes {interval} as long as {fastest}, comparing {what}."
        said.append(_say("plain", text))
    return said


def _say(tone: str, text: str) -> dict[str, str]:
    return {"tone": tone, "text": text}
