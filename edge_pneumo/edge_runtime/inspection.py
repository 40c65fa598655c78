"""What is in a model file, verified or not, as one JSON object: the value behind `edge-pneumo inspect`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from edge_pneumo.edge_runtime import trailer
from edge_pneumo.edge_runtime.bundle import Bundle, default_model_path, open_bundle, pinned_sha256
from edge_pneumo.edge_runtime.flatbuffer import Graph, read_graph
from edge_pneumo.errors import ModelFileError

FROM_METADATA = (
    *("name", "version", "created", "precision", "input", "outputs", "decode", "labels", "operating_points"),
    *("default_operating_point", "training_data", "calibration", "gate", "metrics", "licence", "intended_use"),
    *("toolchain", "tuned"),
)


def inspect_model(model: str | Path, require_signature: str | Path | None = None) -> dict[str, Any]:
    """Everything a model file says of itself, and whether it holds.

    Parameters
    ----------
    model : "default" or a path.
    require_signature : path of a public key that must have signed it.

    Returns
    -------
    the contract's `inspect` object. `verified` is False, and `problem` says why, for a file that may not be used; then
    only what can be known without trusting it is filled in, and the rest is None.

    Raises
    ------
    UsageFault : there is no such file, or the key cannot be used.
    MissingExtra : a signature is required and `cryptography` is not installed; or no runtime is.
    """
    path = default_model_path() if model == "default" else Path(model)
    report: dict[str, Any] = {"schema": 1, "path": str(path), "verified": False, "problem": None}
    report.update(dict.fromkeys((*FROM_METADATA, "sha256", "bytes", "tensors", "integer_only", "golden", "signature")))
    try:
        bundle = open_bundle(model, require_signature=require_signature)
        graph = read_graph(bundle.tflite, str(path))
        report.update(_from_bundle(bundle, require_signature), **_from_graph(graph), verified=True)
    except ModelFileError as error:
        report.update(_from_stranger(path), problem=str(error))
    return report


def _from_bundle(bundle: Bundle, require_signature: str | Path | None) -> dict[str, Any]:
    golden = bundle.golden
    facts: dict[str, Any] = {key: bundle.metadata.get(key) for key in FROM_METADATA}
    facts["sha256"], facts["bytes"] = bundle.sha256, sum(map(len, (bundle.tflite, trailer.pack(bundle.members, 0))))
    if golden is not None:
        facts["golden"] = {"vectors": len(golden.inputs), "runtime": golden.runtime}
    if trailer.SIGNATURE in bundle.members:
        stored = trailer.parse_json(bundle.members[trailer.SIGNATURE], f"{bundle.path}: {trailer.SIGNATURE}")
        facts["signature"] = {"key_id": stored.get("key_id"), "checked": require_signature is not None}
    if require_signature is not None:
        facts["trust"] = "signed by the required key"
    else:
        pinned = bundle.sha256 == pinned_sha256()
        facts["trust"] = "the default model of this version" if pinned else "unsigned: loaded in a child process first"
    return facts


def _from_graph(graph: Graph) -> dict[str, Any]:
    floats = graph.float_tensors()
    return {
        "tensors": graph.counts(),
        "integer_only": not floats,
        "float_tensors": {"count": len(floats), "first": list(floats[:5])},
        "operators": graph.operators,
    }


def _from_stranger(path: Path) -> dict[str, Any]:
    """What can be said of a file that did not verify: its content is not looked into."""
    if not path.is_file():
        return {}
    with path.open("rb") as stream:
        return {"sha256": hashlib.file_digest(stream, "sha256").hexdigest(), "bytes": path.stat().st_size}


def to_text(report: dict[str, Any]) -> str:
    """The report for people: one fact a line."""
    lines = [("file", f"{report['path']} ({report['bytes'] or 0:,} bytes)"), ("sha256", report["sha256"])]
    if report["verified"]:
        lines.append(("verified", f"yes ({report['trust']})"))
    else:
        lines.append(("verified", f"NO: {report['problem']}"))
    for key in ("name", "version", "created", "precision"):
        lines.append((key, report[key]))
    if report["input"]:
        spec = report["input"]
        lines.append(("input", f"{spec.get('dtype', '?')} 1 x {spec['size_px']} x {spec['size_px']} x 1, grey 0..255"))
    for name, output in (report["outputs"] or {}).items():
        shape = " x ".join(map(str, output.get("shape", [])))
        lines.append((f"output {name}", f"{output.get('dtype')} {shape}"))
    if report["tensors"]:
        counts = ", ".join(f"{count} {dtype}" for dtype, count in report["tensors"].items())
        proof = "no float tensor anywhere" if report["integer_only"] else f"{report['float_tensors']['count']} in float"
        lines.append(("tensors", f"{counts}; {proof}"))
    for name, threshold in (report["operating_points"] or {}).items():
        mark = " (default)" if name == report["default_operating_point"] else ""
        lines.append((f"threshold {name}", f"{threshold:.4f}{mark}"))
    lines.append(("labels", ", ".join(report["labels"]) if report["labels"] else None))
    if report["golden"]:
        lines.append(("golden vectors", f"{report['golden']['vectors']}, made by {report['golden']['runtime']}"))
    if report["signature"]:
        checked = "checked" if report["signature"]["checked"] else "NOT checked: give --require-signature KEY.pub"
        lines.append(("signature", f"key id {report['signature']['key_id']}, {checked}"))
    for key in ("training_data", "calibration", "gate", "metrics", "tuned", "licence", "intended_use"):
        lines.append((key.replace("_", " "), _short(report[key])))
    if report["tuned"]:
        lines.append(("", "gate and metrics are those from before it was tuned; --card has those of after"))
    width = max(len(label) for label, _ in lines)
    return "\n".join(f"{label:<{width}}  {value}" for label, value in lines if value not in (None, "", {}))


def _short(value: Any) -> str | None:
    """A nested value on one line."""
    if not isinstance(value, dict):
        return None if value is None else str(value)
    parts = []
    for key, inner in value.items():
        if isinstance(inner, dict):
            inner = inner.get("value", f"({len(inner)} entries)")
        elif isinstance(inner, list):
            inner = f"({len(inner)} entries)"
        parts.append(f"{key} {inner:.4f}" if isinstance(inner, float) else f"{key} {inner}")
    return ", ".join(parts)
