"""DICOM objects about a film: what SR, presentation state and secondary capture have in common."""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_pneumo import __version__
from edge_pneumo.edge_runtime.files import atomic_write
from edge_pneumo.edge_runtime.outputs.evidence import read_evidence
from edge_pneumo.errors import InputRefused, MissingExtra

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from edge_pneumo.edge_runtime.predict import Examination, FilmSource
    from edge_pneumo.edge_runtime.result import FilmResult, ModelIdentity

MANUFACTURER = "edge-pneumo project"
PRODUCT = "edge-pneumo"
RESEARCH_ONLY = "Research use only - not a medical device"
SERIES_NUMBERS = {"sr": 9101, "gsps": 9102, "sc": 9103}  # high, so that they follow the modality's own series
SERIES_DESCRIPTIONS = {
    "sr": f"{PRODUCT} findings (research)",
    "gsps": f"{PRODUCT} boxes (research)",
    "sc": f"{PRODUCT} overlay (research)",
}
_DEVICES = uuid.UUID("0d6c3bd2-97f5-5a5e-8f0e-6b2a3c1f7e58")


def require_highdicom(feature: str = "writing DICOM objects") -> None:
    """Raise MissingExtra unless highdicom is installed; call before any film is read."""
    from importlib.util import find_spec

    if find_spec("highdicom") is None:
        raise MissingExtra(feature, "highdicom", "dicom")


def write_dicom(
    kind: str, path: str | Path, source: FilmSource, examination: Examination, *, heat: bool = True
) -> None:
    """Write the `sr`, `gsps` or `sc` object of one examined film.

    The object is in the film's study and repeats its patient, has a series of its own, refers to the film, and names
    the device (this program) and the algorithm (the model with its version and hash).

    Raises
    ------
    InputRefused : the film is not DICOM, or lacks what an object must refer to.
    WriteFailed : no space or no permission.
    MissingExtra : highdicom is not installed.
    """
    require_highdicom()
    result = examination.result
    if result.transfer_syntax is None:
        raise InputRefused(
            f"{result.file}: DICOM outputs (--{kind}) need a DICOM film: a PNG or JPEG names no patient and no study. "
            "The overlay (--overlay) works for every film."
        )
    evidence = read_evidence(source, result.file)
    with warnings.catch_warnings():  # pydicom's remarks on identifiers that are the film's own, not ours to mend
        warnings.filterwarnings("ignore", module="pydicom.*")
        warnings.filterwarnings("ignore", module="highdicom.*")
        try:
            dataset = _builder(kind)(evidence, source, examination, heat)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            # highdicom's way to say that a film's header lacks what the standard asks of its kind
            raise InputRefused(
                f"{result.file}: its header does not allow a DICOM object of the kind --{kind} ({error})."
            ) from error
        with atomic_write(path) as stream:
            dataset.save_as(stream, enforce_file_format=True)


def _builder(kind: str) -> Callable[[Dataset, FilmSource, Examination, bool], Dataset]:
    if kind == "sr":
        from edge_pneumo.edge_runtime.outputs.structured_report import build_sr

        return lambda evidence, source, examination, heat: build_sr(evidence, examination.result)
    if kind == "gsps":
        from edge_pneumo.edge_runtime.outputs.presentation_state import build_gsps

        return lambda evidence, source, examination, heat: build_gsps(evidence, examination.result)
    from edge_pneumo.edge_runtime.outputs.capture import build_capture

    return lambda evidence, source, examination, heat: build_capture(evidence, source, examination, heat=heat)


def new_uid() -> str:
    """A UID of our own making (PS3.5 B.2: 2.25 and a random UUID)."""
    return f"2.25.{uuid.uuid4().int}"


def series(kind: str) -> dict[str, Any]:
    """Arguments that put an object into a new series, as highdicom names them."""
    return {
        "series_instance_uid": new_uid(),
        "series_number": SERIES_NUMBERS[kind],
        "series_description": SERIES_DESCRIPTIONS[kind],
        "sop_instance_uid": new_uid(),
        "instance_number": 1,
    }


def equipment(model: ModelIdentity) -> dict[str, Any]:
    """Arguments that name the device: program, model and version, as highdicom names them."""
    return {
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": PRODUCT,
        "software_versions": [f"{PRODUCT} {__version__}"[:64], f"{model.name} {model.version}"[:64]],
        "device_serial_number": model.sha256,  # 64 characters: the limit of LO
    }


def device_uid(model: ModelIdentity) -> str:
    """The same UID for the same program version and model, wherever it runs."""
    return f"2.25.{uuid.uuid5(_DEVICES, f'{PRODUCT} {__version__} {model.sha256}').int}"


def summary(result: FilmResult) -> str:
    """One line: decision, probability, threshold."""
    finding = result.finding
    if finding is None:
        raise ValueError("a refused film has no findings")
    words = "Opacity" if finding.decision == "opacity" else "No opacity"
    return f"{words}: probability {finding.probability:.2f}, threshold {finding.threshold:.2f}"
