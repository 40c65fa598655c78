"""How a detector is trained: every number in one frozen dataclass, read from a TOML preset and stored with the run."""

from __future__ import annotations

import math
import tomllib
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, get_type_hints

from edge_pneumo.errors import UsageFault

FILMS = ("all", "masked", "mixed")
LARGEST_PX = 2048
"""Input side from which on a slip of the finger is likelier than a wish; the challenge's films have 1024."""

PRESETS = ("quick", "default", "rsna", "demo")


def _expect(holds: bool, where: str, name: str, expected: str, found: object) -> None:
    if not holds:
        raise UsageFault(f"{where}: expected {name} {expected}, found {found}")


def _expect_size(size_px: int, where: str) -> None:
    fits = 32 <= size_px <= LARGEST_PX and size_px % 32 == 0
    _expect(fits, where, "size_px", f"a multiple of 32, at most {LARGEST_PX}", size_px)


@dataclass(frozen=True)
class Stage:
    """One stretch of training; stages follow each other on the same weights.

    Attributes
    ----------
    name : for logs and the resume file.
    films : "all" (labelled train films and weak films), "masked" (lung-masked films of `--masked`), or "mixed" (both).
    epochs, batch_size : passes over the films; films a step.
    size_px : input side; None = the detector's own. Weights do not depend on it.
    learning_rate, head_rate : Adam's peak rates for backbone and new layers; cosine to 2 % of the peak.
    warmup_epochs : linear warm-up.
    freeze_blocks : how many of the first parts (stem and blocks) stay as they were.
    labelled_repeat : how often a film with true boxes is seen for each time that a weak film is seen.
    apart : lung-masked films come in batches of their own, which leave batch norm's statistics alone (see step.py).
    prune : share of each block's variance that may go when channels are taken out before this stage (see prune.py).
    pupil : a stage of the detector that is kept alone; its teachers, where it has any, are not put through it.
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
    apart: bool = False
    prune: float = 0.0
    pupil: bool = False

    def __post_init__(self) -> None:
        where = f"stage {self.name}"
        _expect(self.films in FILMS, where, "films", f"to be one of {', '.join(FILMS)}", self.films)
        for name in ("epochs", "batch_size", "labelled_repeat"):
            _expect(getattr(self, name) >= 1, where, name, "1 or more", getattr(self, name))
        for name in ("learning_rate", "head_rate", "warmup_epochs", "freeze_blocks"):
            _expect(0 <= getattr(self, name) < math.inf, where, name, "0 or more", getattr(self, name))
        _expect(0 <= self.prune < 1, where, "prune", "0 or more and below 1", self.prune)
        if self.size_px is not None:
            _expect_size(self.size_px, where)


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

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            _expect(0 <= value < math.inf, "augment", name, "0 or more", value)


@dataclass(frozen=True)
class LossConfig:
    """Weights of the loss terms (see losses.py).

    `heat_kind` "quality" or "centre". `weak_box`: of heat and boxes where they are NIH's own; `weak_film`: of the film
    label where it is only text-mined, 0 = such a film teaches its findings, and an empty heat map if it has none.
    `normal`: whether an auxiliary output beside the findings learns which films are normal. `taught`: how much teachers
    count, where there are any; labels count the rest, 1 - taught.
    """

    heat: float = 1.0
    box: float = 1.0
    image: float = 0.5
    pooled_heat: float = 0.5
    findings: float = 1.0
    gaussian: float = 0.22
    weak_box: float = 0.5
    weak_film: float = 0.0
    heat_kind: str = "quality"
    normal: bool = True
    taught: float = 0.5

    def __post_init__(self) -> None:
        _expect(
            self.heat_kind in ("quality", "centre"), "loss", "heat_kind", 'to be "quality" or "centre"', self.heat_kind
        )
        for name, value in asdict(self).items():
            if name != "heat_kind":
                _expect(0 <= value < math.inf, "loss", name, "0 or more", value)
        _expect(self.taught <= 1, "loss", "taught", "at most 1", self.taught)


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a training run, but for the films and the starting weights.

    `teachers`: how many whole detectors of other seeds are trained first and then teach this one (see teach.py).
    """

    name: str = "quick"
    size_px: int = 256
    alpha: float = 1.0
    head_channels: int = 96
    dropout: float = 0.3
    ema: float = 0.98
    seed: int = 0
    interim: bool = False
    teachers: int = 0
    stages: tuple[Stage, ...] = (Stage("joint"),)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: LossConfig = field(default_factory=LossConfig)

    def __post_init__(self) -> None:
        where = f"recipe {self.name}"
        _expect_size(self.size_px, where)
        _expect(0.35 <= self.alpha <= 1.0, where, "alpha", "0.35 to 1.0", self.alpha)
        _expect(self.head_channels >= 1, where, "head_channels", "1 or more", self.head_channels)
        _expect(self.teachers >= 0, where, "teachers", "0 or more", self.teachers)
        for name in ("dropout", "ema"):
            _expect(0 <= getattr(self, name) < 1, where, name, "0 or more and below 1", getattr(self, name))
        _expect(0 <= self.seed < 2**32, where, "seed", "0 to 4294967295", self.seed)
        _expect(len(self.stages) > 0, where, "stages", "one or more", "none")
        alone = self.teachers > 0 and all(stage.pupil for stage in self.stages)
        _expect(not alone, where, "a stage", "that teachers are put through", "none but the pupil's")

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
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageFault(f"{path} is not valid TOML: {error}") from error
    return _with(config_from_dict(data, str(path)), changes)


def config_from_dict(data: dict[str, Any], where: str = "configuration") -> TrainConfig:
    """The inverse of `TrainConfig.to_dict`; a field that is unknown or makes no sense is a UsageFault that names it."""
    data = dict(data)
    tables = data.pop("stages", [{"name": "joint"}])
    if not isinstance(tables, list | tuple):
        raise UsageFault(f"{where}: stages must be tables ([[stages]]), found {tables!r}")
    data["stages"] = tuple(_build(Stage, table, f"{where} [[stages]]") for table in tables)
    data["augment"] = _build(AugmentConfig, data.pop("augment", {}), f"{where} [augment]")
    data["loss"] = _build(LossConfig, data.pop("loss", {}), f"{where} [loss]")
    return _build(TrainConfig, data, where)


def _build(kind: type, values: Any, where: str) -> Any:
    if not isinstance(values, dict):
        raise UsageFault(f"{where}: expected a table of fields, found {values!r}")
    hints = get_type_hints(kind)
    if unknown := sorted(set(values) - set(hints)):
        raise UsageFault(f"{where}: unknown field {', '.join(unknown)}; known are {', '.join(sorted(hints))}")
    if kind is Stage and "name" not in values:
        raise UsageFault(f"{where}: every stage needs a name")
    return kind(**{name: _typed(hints[name], value, f"{where}: {name}") for name, value in values.items()})


def _typed(hint: Any, value: Any, where: str) -> Any:
    """`value` if it is of a simple type `hint` (a whole number will do for a float); other hints are left alone."""
    for simple in (str, bool, int, float):
        if hint in (simple, simple | None):
            if value is None and hint != simple:
                return None
            if simple is float and type(value) is int:
                return float(value)
            if type(value) is not simple or (isinstance(value, float) and not math.isfinite(value)):
                raise UsageFault(f"{where} must be {_WORDS[simple]}, found {value!r}")
    return value


_WORDS = {str: "a text", bool: "true or false", int: "a whole number", float: "a number"}


def _with(config: TrainConfig, changes: dict[str, Any]) -> TrainConfig:
    changes = {key: value for key, value in changes.items() if value is not None}
    epochs = changes.pop("epochs", None)
    config = replace(config, **changes)
    if epochs is not None:
        config = replace(config, stages=tuple(replace(stage, epochs=epochs) for stage in config.stages))
    return config
