"""How a detector is trained: every number in one frozen dataclass, read from a TOML preset and stored with the run."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from edge_pneumo.errors import UsageFault

PRESETS = ("quick", "default", "rsna", "demo")


@dataclass(frozen=True)
class Stage:
    """One stretch of training; stages follow each other on the same weights.

    Attributes
    ----------
    name : for logs and the resume file.
    films : which films: "all" (labelled train films and weak films) or "masked" (lung-masked films of `--extra`).
    epochs, batch_size : passes over the films; films a step.
    size_px : input side; None = the detector's own. Weights do not depend on it.
    learning_rate, head_rate : Adam's peak rates for backbone and new layers; cosine to 2 % of the peak.
    warmup_epochs : linear warm-up.
    freeze_blocks : how many of the first parts (stem and blocks) stay as they were.
    labelled_repeat : how often a film with true boxes is seen for each time that a weak film is seen.
    """

    name: str
    films: str = "all"
    epochs: int = 7
    batch_size: int = 16
    size_px: int | None = None
    learning_rate: float = 3e-4
    head_rate: float = 1e-3
    warmup_epochs: float = 0.3
    freeze_blocks: int = 3
    labelled_repeat: int = 1


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes of a training film; ranges are symmetric about "no change".

    Units: degrees, fractions of the side, log2 of scale and gamma, grey levels of 255.
    """

    flip: float = 0.5
    rotate_deg: float = 10.0
    shift: float = 0.06
    scale_log2: float = 0.22
    stretch_log2: float = 0.06
    gamma_log2: float = 0.45
    contrast_log2: float = 0.35
    brightness: float = 20.0
    noise: float = 6.0
    cutout: float = 0.3


@dataclass(frozen=True)
class LossConfig:
    """Weights of the loss terms (see losses.py)."""

    heat: float = 1.0
    box: float = 1.0
    image: float = 0.5
    pooled_heat: float = 0.5
    findings: float = 0.3
    gaussian: float = 0.22
    weak_box: float = 0.5


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a training run, but for the films and the starting weights."""

    name: str = "quick"
    size_px: int = 256
    alpha: float = 1.0
    head_channels: int = 96
    dropout: float = 0.3
    ema: float = 0.98
    seed: int = 0
    interim: bool = False
    stages: tuple[Stage, ...] = (Stage("joint"),)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: LossConfig = field(default_factory=LossConfig)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as config.json keeps it."""
        return asdict(self)


def preset(name: str, **changes: Any) -> TrainConfig:
    """One of `PRESETS`, with fields replaced by `changes` that are not None."""
    if name not in PRESETS:
        raise UsageFault(f"unknown preset {name!r}; expected one of {', '.join(PRESETS)}")
    return _with(read_config(Path(__file__).parent / "presets" / f"{name}.toml"), changes)


def read_config(path: str | Path, **changes: Any) -> TrainConfig:
    """Read a TOML file with the fields of `TrainConfig`; `[[stages]]`, `[augment]` and `[loss]` are tables."""
    path = Path(path)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageFault(f"cannot read the configuration {path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageFault(f"{path} is not valid TOML: {error}") from error
    return _with(config_from_dict(data, str(path)), changes)


def config_from_dict(data: dict[str, Any], where: str = "configuration") -> TrainConfig:
    """The inverse of `TrainConfig.to_dict`; unknown fields are a UsageFault that names them."""
    data = dict(data)
    stages = tuple(_build(Stage, stage, f"{where} [[stages]]") for stage in data.pop("stages", [{"name": "joint"}]))
    augment = _build(AugmentConfig, data.pop("augment", {}), f"{where} [augment]")
    loss = _build(LossConfig, data.pop("loss", {}), f"{where} [loss]")
    return replace(_build(TrainConfig, data, where), stages=stages, augment=augment, loss=loss)


def _build(kind: type, values: dict[str, Any], where: str) -> Any:
    known = {f.name for f in fields(kind)}
    if unknown := sorted(set(values) - known):
        raise UsageFault(f"{where}: unknown field {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    return kind(**values)


def _with(config: TrainConfig, changes: dict[str, Any]) -> TrainConfig:
    changes = {key: value for key, value in changes.items() if value is not None}
    epochs = changes.pop("epochs", None)
    config = replace(config, **changes)
    if epochs is not None:
        config = replace(config, stages=tuple(replace(stage, epochs=epochs) for stage in config.stages))
    return config
