"""`FilmResult`: the answer for one film, or the reason why there is none; what `predict` prints."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from edge_pneumo.edge_runtime.decode import Box, Finding
from edge_pneumo.edge_runtime.radiograph import Radiograph

SCHEMA = 1  # 1: first version (2026); readers accept older numbers


@dataclass(frozen=True)
class ModelIdentity:
    """Which model answered: name and version as its metadata has them, SHA-256 of the whole file."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True)
class FilmResult:
    """One film's answer. Small and picklable: it holds no pixels.

    Attributes
    ----------
    file : the film's name as the caller gave it; a member of a zip is `archive.zip/member`.
    status : "ok", or "refused" with `reason` (one of `errors.REASONS`) and `message`.
    finding : probability, threshold and boxes (source pixels); None when refused.
    width, height : pixels of the source film.
    photometric, transfer_syntax, sop_instance_uid : from the DICOM header; None for other files.
    model : which model answered; None when refused.
    timing_ms : measured milliseconds for each of read, preprocess, invoke, decode, total.
    warnings : sentences for the user; the film was answered all the same.
    """

    file: str
    status: str
    finding: Finding | None = None
    width: int = 0
    height: int = 0
    photometric: str | None = None
    transfer_syntax: str | None = None
    sop_instance_uid: str | None = None
    model: ModelIdentity | None = None
    timing_ms: dict[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    reason: str | None = None
    message: str | None = None

    @classmethod
    def answered(
        cls, film: Radiograph, finding: Finding, model: ModelIdentity, timing_ms: dict[str, float], file: str
    ) -> FilmResult:
        """The result of a film that went through the network."""
        facts = film.acquisition
        return cls(
            file=file,
            status="ok",
            finding=finding,
            width=film.width,
            height=film.height,
            photometric=facts.photometric,
            transfer_syntax=facts.transfer_syntax,
            sop_instance_uid=facts.sop_instance_uid,
            model=model,
            timing_ms=timing_ms,
            warnings=film.warnings,
        )

    @classmethod
    def refused(cls, file: str, reason: str, message: str) -> FilmResult:
        """The result of a film that could not be read as a frontal chest radiograph."""
        return cls(file=file, status="refused", reason=reason, message=message)

    @property
    def ok(self) -> bool:
        """True when the film was answered."""
        return self.status == "ok"

    @property
    def probability(self) -> float | None:
        """Calibrated probability of an opacity in 0..1, None when refused."""
        return self.finding.probability if self.finding else None

    @property
    def decision(self) -> str | None:
        """`opacity` or `no-opacity` at the operating point, None when refused."""
        return self.finding.decision if self.finding else None

    @property
    def boxes(self) -> tuple[Box, ...]:
        """Boxes in pixels of the source film, by falling score; empty when refused."""
        return self.finding.boxes if self.finding else ()

    def to_dict(self) -> dict[str, Any]:
        """The object that `predict --format json` prints, made of plain JSON types."""
        if self.finding is None or self.model is None:
            return {
                "schema": SCHEMA,
                "file": self.file,
                "status": self.status,
                "reason": self.reason,
                "message": self.message,
            }
        return {
            "schema": SCHEMA,
            "file": self.file,
            "status": self.status,
            # not rounded: a rounded probability could fall on the other side of the threshold than the decision
            "probability": self.finding.probability,
            "decision": self.finding.decision,
            "threshold": self.finding.threshold,
            "boxes": [box_to_dict(box) for box in self.finding.boxes],
            "image": {
                "width": self.width,
                "height": self.height,
                "photometric": self.photometric,
                "transfer_syntax": self.transfer_syntax,
            },
            "sop_instance_uid": self.sop_instance_uid,
            "model": {"name": self.model.name, "version": self.model.version, "sha256": self.model.sha256},
            "timing_ms": {stage: round(ms, 3) for stage, ms in self.timing_ms.items()},
            "warnings": list(self.warnings),
        }


def box_to_dict(box: Box) -> dict[str, float]:
    """A box as the contract has it: top-left x, y, width, height in source pixels, and score in 0..1."""
    return {
        "x": box.x1,
        "y": box.y1,
        "width": round(box.x2 - box.x1, 1),
        "height": round(box.y2 - box.y1, 1),
        "score": round(box.score, 4),
    }
