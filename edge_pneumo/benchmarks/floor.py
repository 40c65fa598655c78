"""How far the product is from the floor: what decoding the JPEG and running the network cost by themselves.

Everything is measured in one run, floor and product taking turns, so that a busy machine slows both. Warm times are
the least of each film over the rounds, since other programs can only add to them, and their ratio is bootstrapped over
films; those of folders are medians over rounds of the ratio within a round; the others are ratios of medians. Keras'
`predict` uses every core, so its target is against a folder, which does too; the ratio for one film on one core is
shown without a target, and so is what the floor itself would reach. Films must be JPEG Baseline DICOM, as RSNA's and
the phantom's are.
"""

from __future__ import annotations

import io
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_pneumo.benchmarks.stats import ratio_of_medians
from edge_pneumo.edge_runtime import dicom_header
from edge_pneumo.edge_runtime.pool import usable_cores
from edge_pneumo.edge_runtime.predict import Detector
from edge_pneumo.errors import DataError

FLOOR_PROCESS = Path(__file__).with_name("floor_process.py")
# Runs a program and says its largest resident memory at the end. The kernel's own account (ru_maxrss) starts at the
# memory of the process that forked it; VmHWM does not.
WATCHED = """
import atexit, runpy, sys
def peak():
    with open("/proc/self/status") as status:
        sys.stderr.write("\\npeak_kb " + next(line.split()[1] for line in status if line.startswith("VmHWM")))
atexit.register(peak)
sys.argv.pop(0)
run = runpy.run_path if sys.argv[0].endswith(".py") else runpy.run_module
run(sys.argv[0], run_name="__main__")
"""
TARGETS = {
    "warm": ("at most", 1.25),
    "cold": ("at most", 1.3),
    "memory": ("at most", 1.25),
    "two_workers": ("at least", 1.8),
    "usual": ("at least", 20.0),
}
LINES = {
    "warm": "one film, warm: product / (JPEG decode + invoke)",
    "cold": "`edge-pneumo predict one.dcm` / the floor as a program",
    "memory": "largest resident memory of these two processes",
    "two_workers": "films a second, two workers / one",
    "usual": "a film of a folder, all cores: pydicom pixel_array, resize, tf_keras predict / product",
    "usual_floor": "the same, were the product as fast as the floor",
    "usual_one": "one film at a time, product on one core: the same",
}


@dataclass(frozen=True)
class Plan:
    """How much to measure: rounds over the films, processes started, films for the usual way, rounds over folders."""

    rounds: int = 15
    processes: int = 9
    usual_films: int = 12
    folder_rounds: int = 11
    folder_films: int = 360


def run_floor(
    model: str,
    films: Sequence[str],
    plan: Plan,
    *,
    keras_model: Any | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Measure all ratios.

    Parameters
    ----------
    model : model file, or "default".
    films : paths of JPEG Baseline DICOM films.
    keras_model : the float network in tf_keras, for the usual way; None leaves that row out.

    Returns
    -------
    JSON-ready: `ratios` (each with value, low, high; those of `TARGETS` with target and holds), `medians` in ms and MB,
    `n`.

    Raises
    ------
    DataError : a film is not JPEG Baseline DICOM, or the door refuses it.
    """
    with Detector.open(model) as detector:
        streams = [code_stream(film) for film in films]
        progress("one film, warm")
        floor_ms, product_ms = _warm(detector, films, streams, plan)
        ratios = {"warm": ratio_of_sums(floor_ms, product_ms)}
        medians = {"floor_ms": np.median(floor_ms), "product_ms": np.median(product_ms)}
        progress("processes")
        cold = _processes(str(detector.bundle.path), films, detector.input_spec.size_px, plan)
        ratios["cold"] = ratio_of_medians(cold["floor_ms"], cold["product_ms"])
        ratios["memory"] = ratio_of_medians(cold["floor_mb"], cold["product_mb"])
        medians |= {f"process_{name}": np.median(samples) for name, samples in cold.items()}
        progress("folders, by workers and in the usual way")
        took, turns = _folders(detector, films, plan, keras_model)
        all_cores = took[usable_cores()]
        ratios["two_workers"] = ratio_by_rounds(took[2], took[1])
        medians["folder_ms"] = np.median(all_cores)
        if turns:
            ratios["usual"] = ratio_by_rounds(all_cores, [float(np.median(turn)) for turn in turns])
            spared = ratios["warm"]["value"]
            ratios["usual_floor"] = {name: round(value * spared, 4) for name, value in ratios["usual"].items()}
            ratios["usual_one"] = ratio_of_sums(product_ms[: len(turns[0])], np.min(turns, axis=0).tolist())
            medians["usual_ms"] = np.median(turns)
    for name, ratio in ratios.items():
        if name not in TARGETS:
            continue
        sense, target = TARGETS[name]
        holds = ratio["value"] <= target if sense == "at most" else ratio["value"] >= target
        ratio |= {"target": target, "sense": sense, "holds": bool(holds)}
    return {
        "schema": 1,
        "n": len(films),
        "rounds": plan.rounds,
        "cores": usable_cores(),
        "ratios": ratios,
        "medians": {name: round(float(value), 3) for name, value in medians.items()},
    }


def code_stream(film: str) -> bytes:
    """The JPEG in a film.

    Raises
    ------
    DataError : it has none, or not in one piece.
    """
    header = dicom_header.parse(Path(film).read_bytes(), film)
    fragments = header.fragments()
    if header.syntax != "1.2.840.10008.1.2.4.50" or len(fragments) != 1:
        raise DataError(f"{film}: not a JPEG Baseline DICOM film; the floor is defined for these. Give other films.")
    return bytes(fragments[0])


def _warm(
    detector: Detector, films: Sequence[str], streams: Sequence[bytes], plan: Plan
) -> tuple[list[float], list[float]]:
    """The least milliseconds of each film, of the floor and of the product, one right after the other."""
    from PIL import Image

    size = detector.input_spec.size_px
    interpreter = _interpreter(str(detector.bundle.path))
    details = interpreter.get_input_details()[0]
    blank = np.zeros((1, size, size, 1), details["dtype"])

    def floor(stream: bytes) -> None:
        picture = Image.open(io.BytesIO(stream))
        picture.draft("L", (size, size))
        picture.load()
        interpreter.set_tensor(details["index"], blank)
        interpreter.invoke()

    samples = np.empty((plan.rounds, len(films), 2))
    for turn in range(plan.rounds):
        for index, (film, stream) in enumerate(zip(films, streams, strict=True)):
            ways = [(0, lambda s=stream: floor(s)), (1, lambda f=film: _answered(detector, f))]
            for way, work in ways if turn % 2 else ways[::-1]:
                samples[turn, index, way] = _ms(work)
    floor_ms, product_ms = samples.min(axis=0).T
    return floor_ms.tolist(), product_ms.tolist()


def ratio_of_sums(before: Sequence[float], after: Sequence[float], seed: int = 0) -> dict[str, float]:
    """sum(after) / sum(before) of times film by film, with a 95 % bootstrap interval over films."""
    pairs = np.stack([before, after], axis=1)
    drawn = np.random.default_rng(seed).integers(0, len(pairs), (2000, len(pairs)))
    sums = pairs[drawn].sum(axis=1)
    low, high = np.percentile(sums[:, 1] / sums[:, 0], (2.5, 97.5))
    value = pairs[:, 1].sum() / pairs[:, 0].sum()
    return {"value": round(float(value), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def _interpreter(model: str) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=model, num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def _answered(detector: Detector, film: str) -> None:
    result = detector.predict(film)
    if result.status != "ok":
        raise DataError(f"{film}: refused, {result.message} Give films that the door takes.")


def _ms(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1e3


def _usual(keras_model: Any, film: str, size: int) -> float:
    """Milliseconds for a film in the way of most notebooks."""
    import pydicom
    from PIL import Image

    def work() -> None:
        pixels = pydicom.dcmread(film).pixel_array
        small = np.asarray(Image.fromarray(pixels).resize((size, size)), np.float32) / 127.5 - 1
        keras_model.predict(small[np.newaxis, ..., np.newaxis], verbose=0)

    return _ms(work)


def _processes(model: str, films: Sequence[str], size: int, plan: Plan) -> dict[str, list[float]]:
    """Wall time and largest resident memory of whole processes, the two kinds in turn."""
    samples: dict[str, list[float]] = {"floor_ms": [], "product_ms": [], "floor_mb": [], "product_mb": []}
    for turn in range(plan.processes + 1):
        film = films[turn % len(films)]
        commands = {
            "floor": [str(FLOOR_PROCESS), model, film, str(size)],
            "product": ["edge_pneumo", "predict", film, "--model", model, "--format", "json"],
        }
        for name, command in commands.items():
            elapsed, memory = _process(command)
            if turn:
                samples[f"{name}_ms"].append(elapsed)
                samples[f"{name}_mb"].append(memory)
    return samples


def _process(command: list[str]) -> tuple[float, float]:
    """Milliseconds and MB of one Python program.

    Raises
    ------
    DataError : it failed.
    """
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-P", "-c", WATCHED, *command], capture_output=True, text=True, check=False)
    elapsed = (time.perf_counter() - started) * 1e3
    told, _, peak_kb = done.stderr.rpartition("peak_kb ")
    if done.returncode or not peak_kb.strip().isdigit():
        raise DataError(f"`{' '.join(command[:2])} …` ended with {done.returncode}: {told[-300:].strip()}")
    return elapsed, int(peak_kb) / 1024


def _folders(
    detector: Detector, films: Sequence[str], plan: Plan, keras_model: Any | None
) -> tuple[dict[int, list[float]], list[list[float]]]:
    """Round by round, milliseconds a film of a folder by the number of worker processes (one, two, and one a core), and
    of each film in the usual way.

    Workers start once for a folder, so their start is left out, as the first answers are.
    """
    batch = [film for _ in range(max(1, plan.folder_films // len(films))) for film in films]
    first, few = len(batch) // 4, films[: plan.usual_films]
    took: dict[int, list[float]] = {jobs: [] for jobs in sorted({1, 2, usable_cores()})}
    usual: list[list[float]] = []
    for turn in range(plan.folder_rounds + 1):
        if keras_model is not None:
            each = [_usual(keras_model, film, detector.input_spec.size_px) for film in few]
            usual += [each] if turn else []  # Keras compiles in its first
        for jobs, samples in took.items() if turn else ():
            results = detector.predict_many(batch, jobs=jobs)
            for _ in range(first):
                next(results)
            samples.append(_ms(lambda r=results: sum(1 for _ in r)) / (len(batch) - first))
    return took, usual


def ratio_by_rounds(before: Sequence[float], after: Sequence[float], seed: int = 0) -> dict[str, float]:
    """Median over rounds of after / before within a round, with a 95 % bootstrap interval over rounds.

    A machine that is slower for some rounds slows both sides of them.
    """
    ratios = np.asarray(after, np.float64) / np.asarray(before, np.float64)
    drawn = np.random.default_rng(seed).integers(0, len(ratios), (2000, len(ratios)))
    low, high = np.percentile(np.median(ratios[drawn], axis=1), (2.5, 97.5))
    return {"value": round(float(np.median(ratios)), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def floor_table(result: dict[str, Any]) -> str:
    """The ratios as text, one line each."""
    lines = []
    for name in [name for name in LINES if name in result["ratios"]]:
        ratio = result["ratios"][name]
        verdict = ""
        if "target" in ratio:
            verdict = f"{ratio['sense']} {ratio['target']:g}: {'holds' if ratio['holds'] else 'DOES NOT HOLD'}"
        interval = f"[{ratio['low']:.2f}, {ratio['high']:.2f}]"
        lines.append(f"{ratio['value']:7.2f}  {interval:16s}  {verdict:25s}  {LINES[name]}")
    return "\n".join(lines)
