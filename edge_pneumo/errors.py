"""Every error that edge-pneumo raises on purpose.

    EdgePneumoError
    ├── UsageFault            2  an option or argument makes no sense
    ├── InputRefused          3  something the user gave is wrong or unreadable
    │   ├── DataError         3  a data set: missing folder, missing column, box off the film …
    │   ├── FilmRefused       3  one film; carries a `reason` from `REASONS`
    │   └── WriteFailed       3  a place that cannot be written (disk full, no permission)
    ├── MissingExtra          4  an optional package is not installed; names the pip command
    └── VerificationFailed    5  a proof did not hold
        ├── ModelFileError    5  a model file is cut, changed, foreign or too new
        └── GateFailed        5  the accuracy gate of `convert`

The number is the exit code; `edge_pneumo.cli` is the only place that turns one into the other.
A message says what, which file, expected and found, and what to do.
"""

from __future__ import annotations

REASONS = (
    "not-dicom",
    "no-pixels",
    "unsupported-transfer-syntax",
    "truncated",
    "not-a-radiograph",
    "not-a-chest",
    "not-frontal",
    "multi-frame",
    "bad-dimensions",
    "too-large",
    "blank",
    "unreadable",
    "timeout",
)
"""Why a film is refused; the words are part of the public contract (field `reason` of `predict`)."""


class EdgePneumoError(Exception):
    """Base of all errors raised on purpose; `exit_code` is what the command line ends with."""

    exit_code = 1


class UsageFault(EdgePneumoError):
    """An option or argument makes no sense."""

    exit_code = 2


class InputRefused(EdgePneumoError):
    """Something the user gave is wrong or unreadable."""

    exit_code = 3


class DataError(InputRefused):
    """A data set cannot be used as it is."""


class FilmRefused(InputRefused):
    """One film cannot be read as a frontal chest radiograph; `reason` is one of `REASONS`."""

    def __init__(self, reason: str, message: str) -> None:
        if reason not in REASONS:
            raise ValueError(f"unknown refusal reason {reason!r}; add it to errors.REASONS")
        super().__init__(message)
        self.reason = reason


class WriteFailed(InputRefused):
    """A file could not be written; nothing was left under its final name."""


class MissingExtra(EdgePneumoError):
    """An optional package is not installed."""

    exit_code = 4

    def __init__(self, feature: str, package: str, extra: str) -> None:
        super().__init__(f"{feature} needs {package}, which is not installed. Run: pip install 'edge-pneumo[{extra}]'")
        self.feature, self.package, self.extra = feature, package, extra


class VerificationFailed(EdgePneumoError):
    """A proof did not hold."""

    exit_code = 5


class ModelFileError(VerificationFailed):
    """A model file is cut short, changed, foreign or of a newer schema."""


class GateFailed(VerificationFailed):
    """A converted model lost more accuracy than allowed."""
