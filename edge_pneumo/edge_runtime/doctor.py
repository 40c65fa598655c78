"""Does this machine run the model as it should? Each finding says what was found and, where something is wrong, the one
line that mends it. The value behind `edge-pneumo doctor`.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_pneumo.edge_runtime import sandbox
from edge_pneumo.edge_runtime.backends import BackendUnavailable, package_version
from edge_pneumo.edge_runtime.bundle import Bundle, open_bundle
from edge_pneumo.edge_runtime.engine import Engine, available_cores, open_engine
from edge_pneumo.edge_runtime.golden import Golden, GoldenResult, check_golden
from edge_pneumo.edge_runtime.processor import cpu_features
from edge_pneumo.errors import EdgePneumoError, MissingExtra, UsageFault

OK, WARN, FAIL = "ok", "warn", "fail"
MINIMUM_FREE_MB = {"memory": 256, "disk": 200}
WHEELS = (("numpy", "numpy"), ("Pillow", "PIL"), ("pydicom", "pydicom"), ("click", "click"))
CODECS = (
    ("JPEG 2000", ("openjpeg", "pylibjpeg_openjpeg")),
    ("HTJ2K", ("openjpeg", "pylibjpeg_openjpeg")),
    ("JPEG-LS", ("jpeg_ls",)),
)
EIGHT_BIT = {"avx512_vnni": "VNNI", "avx_vnni": "VNNI", "dotprod": "dot products"}
"""Features of processors made for int8; what they are worth is in docs/benchmarks.md and docs/arm.md."""
TOLERATED_PROBABILITY = 0.05
"""Other kernels round the last unit otherwise; that moved a trained int8 MobileNetV2 by up to 0.035 (docs/arm.md)."""


@dataclass(frozen=True)
class Check:
    """One finding: `status` is ok, warn (works, but …) or fail (do not use); `fix` is one line, empty where ok."""

    name: str
    status: str
    found: str
    fix: str = ""


def examine(
    model: str | Path = "default",
    *,
    backend: str = "auto",
    threads: int = 1,
    require_signature: str | Path | None = None,
) -> dict[str, Any]:
    """Check the interpreter, the packages, the machine, the model file and its golden vectors.

    Returns
    -------
    `{"schema": 1, "healthy": bool, "checks": [{"name", "status", "found", "fix"}], "golden": {...} | None}`; `healthy`
    is False if any check failed.

    Raises
    ------
    UsageFault : unknown backend, no such model file, or the key cannot be used.
    """
    checks = [_python(), *_wheels(), _codecs(), _cores(threads), _int8(), _memory(), _disk("disk", Path.cwd())]
    checks.append(_disk("cache", sandbox.cache_dir()))
    golden: dict[str, Any] | None = None
    bundle, check = _model(model, require_signature)
    checks.append(check)
    if bundle is not None:
        engine, check = _backend(bundle, backend, threads)
        checks.append(check)
        if engine is not None:
            golden, check = _golden(bundle, engine)
            checks.append(check)
    return {
        "schema": 1,
        "healthy": all(check.status != FAIL for check in checks),
        "platform": platform.platform(),
        "checks": [asdict(check) for check in checks],
        "golden": golden,
    }


def _python() -> Check:
    bits = 64 if sys.maxsize > 2**32 else 32
    found = f"{platform.python_implementation()} {platform.python_version()}, {bits} bit, {platform.machine()}"
    if sys.version_info >= (3, 14):
        return Check("python", WARN, found, "tested with Python 3.11 to 3.13; if anything fails, use one of them")
    if bits == 32:
        fix = "LiteRT has no 32-bit wheels: use a 64-bit system, or pip install 'edge-pneumo[legacy-runtime]'"
        return Check("python", WARN, found, fix)
    return Check("python", OK, found)


def _wheels() -> list[Check]:
    checks = []
    for package, module in WHEELS:
        if importlib.util.find_spec(module) is None:
            checks.append(Check(package, FAIL, "not installed", "pip install --force-reinstall edge-pneumo"))
        else:
            checks.append(Check(package, OK, package_version(package)))
    runtimes = [p for p, m in (("ai-edge-litert", "ai_edge_litert"), ("tflite-runtime", "tflite_runtime"))
                if importlib.util.find_spec(m) is not None]  # fmt: skip
    if runtimes:
        checks.append(Check("runtime", OK, ", ".join(f"{package} {package_version(package)}" for package in runtimes)))
    else:
        fix = "pip install ai-edge-litert, or on Python 3.11 and older: pip install 'edge-pneumo[legacy-runtime]'"
        checks.append(Check("runtime", FAIL, "neither ai-edge-litert nor tflite-runtime is installed", fix))
    return checks


def _codecs() -> Check:
    """Which compressed DICOM films can be read: the rare codecs come with the extra `dicom`."""
    from PIL import features

    if not features.check("jpg"):
        return Check("codecs", FAIL, "this Pillow cannot read JPEG", "pip install --force-reinstall Pillow")
    found = ["uncompressed", "JPEG", "JPEG Lossless", "RLE"]
    missing = []
    for name, modules in CODECS:
        by_pillow = name == "JPEG 2000" and features.check("jpg_2000")
        present = by_pillow or any(importlib.util.find_spec(module) is not None for module in modules)
        (found if present else missing).append(name)
    if missing:
        text = f"{', '.join(found)}; not {', '.join(missing)}"
        return Check("codecs", WARN, text, "only if films refuse to open: pip install 'edge-pneumo[dicom]'")
    return Check("codecs", OK, ", ".join(found))


def _cores(threads: int) -> Check:
    cores = available_cores()
    found = f"{cores} of {os.cpu_count()} usable"
    if threads > cores:
        return Check(
            "cores", WARN, found, f"{threads} threads on {cores} cores only wait for one another: ask for fewer"
        )
    return Check("cores", OK, found)


def _int8(cpuinfo: Path = Path("/proc/cpuinfo")) -> Check:
    """Whether the processor multiplies and adds eight-bit numbers in one instruction, which int8's speed lives on."""
    try:
        features = cpu_features(cpuinfo.read_text("ascii", "replace"))
    except OSError:
        return Check("int8", OK, "unknown on this system")
    for feature, name in EIGHT_BIT.items():
        if feature in features:
            return Check("int8", OK, f"{name}: int8 is faster than float here")
    if "avx2" in features:
        return Check("int8", OK, "no VNNI: int8 saves bytes here, not time")
    if "neon" in features:
        return Check("int8", OK, "no dot products (as on Raspberry Pi 3 and 4): int8 saves bytes here, little time")
    return Check("int8", OK, "unknown processor")


def _memory() -> Check:
    facts = _meminfo()
    if facts is None:
        return Check("memory", OK, "unknown on this system")
    total, available = facts
    found = f"{available:,} of {total:,} MB available"
    if available < MINIMUM_FREE_MB["memory"]:
        return Check("memory", WARN, found, "close other programs, or predict with --jobs 1")
    return Check("memory", OK, found)


def _meminfo() -> tuple[int, int] | None:
    """Total and available memory in MB, from the kernel."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        values = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith(" kB")}
        return values["MemTotal"] // 1024, values["MemAvailable"] // 1024
    except (OSError, KeyError, ValueError, IndexError):
        return None


def _disk(name: str, folder: Path) -> Check:
    place = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(place).free >> 20
    found = f"{free:,} MB free at {folder}"
    if not os.access(place, os.W_OK):
        if name == "cache":
            fix = "without it an unsigned model is tried anew at each start: set XDG_CACHE_HOME to a writable folder"
        else:
            fix = "write results elsewhere: this folder is read-only"
        return Check(name, WARN, f"{found}, not writable", fix)
    if free < MINIMUM_FREE_MB["disk"]:
        return Check(name, WARN, found, "free space: results may not fit")
    return Check(name, OK, found)


def _model(model: str | Path, require_signature: str | Path | None) -> tuple[Bundle | None, Check]:
    try:
        bundle = open_bundle(model, require_signature=require_signature)
    except (BackendUnavailable, MissingExtra) as error:
        return None, Check("backend", FAIL, str(error), "see the message; nothing is known of the model")
    except UsageFault:
        raise
    except EdgePneumoError as error:
        return None, Check("model", FAIL, str(error), "copy the model file again, or use the default model")
    found = f"{bundle.name} {bundle.version}, sha256 {bundle.sha256}, every byte as its manifest says"
    return bundle, Check("model", OK, found)


def _backend(bundle: Bundle, backend: str, threads: int) -> tuple[Engine | None, Check]:
    try:
        engine = open_engine(bundle.tflite, spec=bundle.input_spec, backend=backend, threads=threads)
    except (BackendUnavailable, MissingExtra) as error:
        return None, Check("backend", FAIL, str(error), "use --backend cpu" if backend == "gpu" else "see the message")
    facts = engine.details()
    return engine, Check("backend", OK, f"{facts['backend']}: {facts['runtime']} on {facts['device']}")


def _golden(bundle: Bundle, engine: Engine) -> tuple[dict[str, Any] | None, Check]:
    golden = bundle.golden
    if golden is None:
        fix = "convert the model again: newer files carry golden vectors"
        return None, Check("golden", WARN, "the model file carries no golden vectors", fix)
    result = check_golden(engine, golden, bundle.decode_spec)
    if result.bit_exact:
        return _as_json(result, None), Check("golden", OK, f"bit-exact on {result.vectors} vectors")
    why = _why_not_exact(bundle, engine, golden)
    units = "levels of 256" if engine.outputs["heat"].scale else "in real units"
    found = (
        f"{result.differing} of {result.total} numbers differ from {golden.runtime}, by at most {result.largest:g} "
        f"{units}; probability by at most {result.probability:.4f}: {why}"
    )
    if result.probability <= TOLERATED_PROBABILITY:
        return _as_json(result, why), Check(
            "golden", WARN, found, "results are usable; for the same bits use LiteRT on the CPU"
        )
    return _as_json(result, why), Check(
        "golden", FAIL, found, "do not trust results here: pip install -U ai-edge-litert"
    )


def _why_not_exact(bundle: Bundle, engine: Engine, golden: Golden) -> str:
    """The likely cause, found by trying other kernels where there are any."""
    if engine.backend == "gpu":
        return f"a GPU rounds otherwise ({engine.details()['device']})"
    if not engine.outputs["heat"].scale:
        return "a floating-point model: the order of additions differs between processors"
    if engine.backend == "tflite-runtime":
        return "tflite-runtime runs int8 without XNNPACK, with other rounding"
    plain = open_engine(bundle.tflite, spec=bundle.input_spec, backend=engine.backend, kernels="builtin")
    film = golden.inputs[:1]
    ours, builtin = engine.run_quantised(film), plain.run_quantised(film)
    if all((ours[name] == builtin[name]).all() for name in ours):
        return "XNNPACK is not in use (is /sys mounted? LiteRT needs it to know the processor)"
    return "an unknown processor, emulator or runtime version"


def _as_json(result: GoldenResult, why: str | None) -> dict[str, Any]:
    return {**asdict(result), "bit_exact": result.bit_exact, "why": why}


def to_text(report: dict[str, Any]) -> str:
    """The report for people: one check a line, the fix under it."""
    marks = {OK: "ok  ", WARN: "WARN", FAIL: "FAIL"}
    width = max(len(check["name"]) for check in report["checks"])
    lines = []
    for check in report["checks"]:
        lines.append(f"{marks[check['status']]}  {check['name']:<{width}}  {check['found']}")
        if check["fix"]:
            lines.append(f"{'':{width + 6}}  -> {check['fix']}")
    lines.append(
        "this machine is fit to run the model" if report["healthy"] else "this machine is NOT fit: mend what FAILED"
    )
    return "\n".join(lines)
