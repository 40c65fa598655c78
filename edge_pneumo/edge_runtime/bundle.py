"""The model file: a `.tflite` that any TFLite runtime loads, with a zip trailer that says what it is and proves itself.

`open_bundle` checks everything before a byte reaches an interpreter: the file's shape, the hash of the network and of
every member (`trailer.py`), the metadata and, for a file that is neither the embedded default nor signed by a key you
named, a first load in a child process (`sandbox.py`).
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_pneumo.edge_runtime import trailer
from edge_pneumo.edge_runtime.decode import DecodeSpec
from edge_pneumo.edge_runtime.files import atomic_write
from edge_pneumo.edge_runtime.preprocess import InputSpec
from edge_pneumo.errors import ModelFileError, UsageFault

if TYPE_CHECKING:
    from edge_pneumo.edge_runtime.golden import Golden

MAX_BYTES = 1 << 30
TAIL_BYTES = 4096


@dataclass(frozen=True)
class Bundle:
    """A model file that was read and verified.

    Attributes
    ----------
    path : where it lies.
    metadata : `metadata.json`; the keys are listed in docs/model-file.md.
    tflite : the network, for `open_engine`.
    card : the model card, Markdown.
    labels : names of the findings.
    sha256 : of the whole file, as `sha256sum` prints it.
    input_spec, decode_spec : how to feed the network and how to read its answer.
    members : the trailer's members as bytes.
    """

    path: Path
    metadata: dict[str, Any]
    tflite: bytes
    card: str
    labels: tuple[str, ...]
    sha256: str
    input_spec: InputSpec
    decode_spec: DecodeSpec
    members: dict[str, bytes]

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.metadata["name"]

    @property
    def version(self) -> str:
        """Version of the model."""
        return self.metadata["version"]

    @property
    def golden(self) -> Golden | None:
        """Golden vectors, or None if the file carries none."""
        from edge_pneumo.edge_runtime.golden import Golden

        data = self.members.get(trailer.GOLDEN)
        return None if data is None else Golden.from_bytes(data)


def default_model_path() -> Path:
    """The embedded default model."""
    return Path(__file__).with_name("models") / "default.tflite"


def pinned_sha256() -> str | None:
    """SHA-256 of the default model this version was released with (`models/default.sha256`), or None."""
    try:
        return default_model_path().with_suffix(".sha256").read_text("ascii").split()[0]
    except (OSError, IndexError):
        return None


def open_bundle(
    model: str | Path = "default", *, require_signature: str | Path | None = None, trial: bool = True
) -> Bundle:
    """Read and verify a model file.

    Parameters
    ----------
    model : "default" for the embedded model, or a path.
    require_signature : path of an Ed25519 public key; the file must be signed by it.
    trial : let a child process load a file first that is neither the pinned default nor signed by `require_signature`
        (once a file: the verdict is remembered). Without it only bytes are checked and nothing is run.

    Raises
    ------
    ModelFileError : cut short, changed, foreign, of a newer schema, not signed as required, or it failed the
        trial run.
    UsageFault : there is no such file, or the key cannot be used.
    MissingExtra : a signature is required and `cryptography` is not installed.
    """
    path = default_model_path() if model == "default" else Path(model)
    tflite, tail = read_parts(path)
    digest = hashlib.sha256(tflite)
    network_sha256 = digest.hexdigest()
    digest.update(tail)
    members = trailer.unpack(tail, len(tflite), str(path))
    trailer.check_manifest(network_sha256, len(tflite), members, str(path))
    metadata = trailer.parse_json(members[trailer.METADATA], f"{path}: {trailer.METADATA}")
    input_spec, decode_spec = read_specs(metadata, str(path))
    bundle = Bundle(
        path=path,
        metadata=metadata,
        tflite=tflite,
        card=members[trailer.CARD].decode("utf-8", "replace"),
        labels=tuple(members[trailer.LABELS].decode("utf-8", "replace").splitlines()),
        sha256=digest.hexdigest(),
        input_spec=input_spec,
        decode_spec=decode_spec,
        members=members,
    )
    _check_origin(bundle, model == "default", require_signature, trial)
    return bundle


def _check_origin(bundle: Bundle, is_default: bool, require_signature: str | Path | None, trial: bool) -> None:
    """Trust by pin, by signature, or by a trial run, in that order."""
    if require_signature is not None:
        from edge_pneumo.edge_runtime.signing import check_signature

        check_signature(bundle.members, require_signature, str(bundle.path))
        return
    pinned = pinned_sha256()
    if bundle.sha256 == pinned:
        return
    if is_default and pinned is not None:
        raise ModelFileError(
            f"{bundle.path}: the embedded model was changed: its SHA-256 is {bundle.sha256[:16]}…, this version was "
            f"released with {pinned[:16]}…. Install edge-pneumo again (to replace the model on purpose: "
            "scripts/embed-default)."
        )
    if trial:
        from edge_pneumo.edge_runtime.sandbox import admit

        admit(bundle.path, bundle.sha256)


def read_parts(path: Path) -> tuple[bytes, bytes]:
    """The network and the trailer of a model file; the file is read once.

    Raises
    ------
    UsageFault : there is no such file.
    ModelFileError : it is not one of ours.
    """
    if not path.exists() and path != default_model_path():
        raise UsageFault(f"{path}: no such model file. Give `default` or a file made by `edge-pneumo convert`.")
    if not path.exists():
        raise ModelFileError(
            f"{path}: this install carries no default model. Give --model FILE, or install edge-pneumo again."
        )
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no regular file"
        raise ModelFileError(
            f"{path}: expected a model file (.tflite), found {found}. Give `default` or a file made by "
            "`edge-pneumo convert`."
        )
    try:
        with path.open("rb") as stream:
            size = path.stat().st_size
            if size > MAX_BYTES:
                raise ModelFileError(f"{path}: {size} bytes; a model file has at most {MAX_BYTES}.")
            head = stream.read(8)
            stream.seek(max(0, size - TAIL_BYTES))
            start = trailer.find(stream.read(TAIL_BYTES), size)
            if not trailer.is_tflite(head):
                raise ModelFileError(
                    f"{path}: not a TFLite model: expected the mark TFL3 at byte 4, found {head[4:8]!r} in "
                    f"{size} bytes. Give a file made by `edge-pneumo convert`."
                )
            if start is None or size - start > trailer.MAX_BYTES:
                raise ModelFileError(
                    f"{path}: a .tflite without our trailer: the file is cut short, damaged, or comes from another "
                    "tool. Copy it again, or make one with `edge-pneumo convert`."
                )
            stream.seek(0)
            return stream.read(start), stream.read(size - start)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}.") from error


def read_specs(metadata: dict[str, Any], what: str) -> tuple[InputSpec, DecodeSpec]:
    """The input and decode contract in a model's metadata.

    Raises
    ------
    ModelFileError : something is missing, of the wrong type, or unknown to this version.
    """
    try:
        for key in ("name", "version"):
            if not isinstance(metadata[key], str):
                raise ValueError(f"{key} is {metadata[key]!r}")
        stored = dict(metadata["input"])
        spec = InputSpec(**{f.name: stored[f.name] for f in fields(InputSpec) if f.name in stored})
        decode = dict(metadata["decode"])
        unknown = set(decode) - {f.name for f in fields(DecodeSpec)}
        if unknown:
            raise ValueError(f"decode has fields that this version does not know: {', '.join(sorted(unknown))}")
        decode_spec = DecodeSpec(**decode)
        _check_specs(spec, decode_spec)
    except (KeyError, TypeError, ValueError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise ModelFileError(
            f"{what}: {trailer.METADATA} does not describe a model this version can run: {reason}. "
            "Upgrade edge-pneumo or convert the model again."
        ) from error
    return spec, decode_spec


def write_bundle(
    path: str | Path,
    tflite: bytes,
    metadata: dict[str, Any],
    *,
    card: str,
    labels: tuple[str, ...] = ("opacity",),
    golden: Golden | None = None,
) -> Bundle:
    """Write a model file, whole or not at all, and read it back.

    Parameters
    ----------
    path : final name; bytes appear there only when all are written.
    tflite : the network.
    metadata : at least name, version, `input` and `decode` (see `describe_input`, `describe_decode`); schema, created,
        outputs, tensors, labels, operating points and the network's hash are filled in.
    card : the model card, Markdown.
    labels : names of the findings.
    golden : see `golden.make_golden`.

    Raises
    ------
    ModelFileError : the network or the metadata could not be read back by `open_bundle`.
    WriteFailed : the place cannot be written.
    """
    from edge_pneumo.edge_runtime.flatbuffer import read_graph  # not needed to open a model: a start is milliseconds

    what = str(path)
    graph = read_graph(tflite, what)
    outputs = {
        name: _describe_output(graph.tensors[index]) for s in graph.signatures[:1] for name, index in s.outputs.items()
    }
    full = {
        "schema": 1,
        "name": None,
        "version": None,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "outputs": outputs,
        "labels": list(labels),
        "tensors": graph.counts(),
        **metadata,
        "tflite": {"bytes": len(tflite), "sha256": hashlib.sha256(tflite).hexdigest()},
    }
    _, decode_spec = read_specs(full, what)
    full.setdefault("operating_points", decode_spec.operating_points)
    full.setdefault("default_operating_point", decode_spec.default_operating_point)
    members = {
        trailer.METADATA: trailer.dump_json(full),
        trailer.CARD: card.encode(),
        trailer.LABELS: ("\n".join(labels) + "\n").encode(),
    }
    if golden is not None:
        members[trailer.GOLDEN] = golden.to_bytes()
    members[trailer.MANIFEST] = trailer.manifest(tflite, members)
    write_parts(path, tflite, members)
    return open_bundle(path, trial=False)


def write_parts(path: str | Path, tflite: bytes, members: dict[str, bytes]) -> None:
    """Write a network and its trailer under `path`, whole or not at all."""
    with atomic_write(path) as stream:
        stream.write(tflite)
        stream.write(trailer.pack(members, len(tflite)))


def describe_input(spec: InputSpec, dtype: str = "uint8") -> dict[str, Any]:
    """The `input` entry of the metadata."""
    return {
        **asdict(spec),
        "channels": 1,
        "layout": "NHWC",
        "dtype": dtype,
        "letterbox": "aspect kept, centred, filled with `fill`",
        "range": [0, 255],
    }


def describe_decode(spec: DecodeSpec) -> dict[str, Any]:
    """The `decode` entry of the metadata."""
    return asdict(spec)


def _describe_output(tensor: Any) -> dict[str, Any]:
    """Shape, dtype and quantisation of an output, for the metadata."""
    scale, zero_point = (tensor.scales[0], tensor.zero_points[0]) if tensor.scales else (None, None)
    return {"shape": list(tensor.shape), "dtype": tensor.dtype, "scale": scale, "zero_point": zero_point}


def _check_specs(spec: InputSpec, decode: DecodeSpec) -> None:
    """Raise ValueError for values that cannot be meant."""
    if not isinstance(spec.size_px, int) or spec.size_px < 32 or spec.size_px % 32 or spec.size_px > 4096:
        raise ValueError(f"input.size_px is {spec.size_px!r}, expected a multiple of 32")
    points = decode.operating_points
    if not isinstance(points, dict) or decode.default_operating_point not in points:
        raise ValueError(f"the default operating point {decode.default_operating_point!r} is not among {points!r}")
    numbers = {"input.scale": spec.scale, **{f"operating point {k}": v for k, v in points.items()}}
    numbers.update({f.name: getattr(decode, f.name) for f in fields(DecodeSpec) if f.type in ("float", "int")})
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"{name} is {value!r}, expected a number")
    for name, value, least, most, whole in (
        ("input.fill", spec.fill, 0, 255, True),
        ("input.scale", spec.scale, 1e-9, math.inf, False),
        ("input.zero_point", spec.zero_point, 0, 255, True),
        ("decode.stride", decode.stride, 1, spec.size_px, True),
        ("decode.max_boxes", decode.max_boxes, 0, 1000, True),
        ("decode.nms_iou", decode.nms_iou, 0, 1, False),
        ("decode.box_scale", decode.box_scale, 1e-9, math.inf, False),
        ("decode.vote_iou", decode.vote_iou, 1e-9, 1, False),
    ):
        if (
            isinstance(value, bool)
            or not isinstance(value, int if whole else int | float)
            or not least <= value <= most
        ):
            kind = "a whole number" if whole else "a number"
            raise ValueError(f"{name} is {value!r}, expected {kind} from {least:g} to {most:g}")
