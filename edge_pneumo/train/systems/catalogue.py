"""The seven systems of the reference report, as data; `graphs` builds them, `fit` trains them.

Parameter totals are not written here: they are counted on the built graph (`list_systems`), and a test compares them
with the report's table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edge_pneumo.errors import UsageFault


@dataclass(frozen=True)
class System:
    """One system of the report.

    Attributes
    ----------
    name : what `train --system` takes.
    reference : row of the report's table.
    title : the system in a line, for tables.
    size_px : input side.
    start : "imagenet" (Keras's weights or a file), "chexnet" (a file that the user brings) or "random".
    scaling : how grey levels become inputs; see `feed.to_network`.
    learning_rate : Adam's first rate; halved when val_loss stands still.
    epochs : passes over the training films when none are asked for.
    frozen : the ImageNet features do not learn.
    augmented : training films are changed at random.
    one_box : also regresses one box a film.
    reported : the report's own figures, as claimed there.
    """

    name: str
    reference: int
    title: str
    size_px: int
    start: str
    scaling: str
    learning_rate: float
    reported: dict[str, float]
    epochs: int = 10
    frozen: bool = False
    augmented: bool = False
    one_box: bool = False


SYSTEMS = (
    System(
        "densenet121", 1, "DenseNet-121", 224, "imagenet", "imagenet", 1e-4,
        {"accuracy": 0.84, "auc": 0.894, "precision": 0.72, "recall": 0.55, "f1": 0.62},
    ),
    System(
        "densenet121-chexnet", 2, "DenseNet-121, CheXNet weights", 224, "chexnet", "imagenet", 1e-4,
        {"accuracy": 0.85, "auc": 0.895, "precision": 0.72, "recall": 0.55, "f1": 0.63},
    ),
    System(
        "fcnn", 3, "FCNN: two dense layers on the pixels", 128, "random", "unit", 1e-4,
        {"accuracy": 0.939, "precision": 0.94, "recall": 0.95, "f1": 0.95},
    ),
    System(
        "cnn", 4, "CNN: four convolutions, three dense layers", 128, "random", "unit", 1e-3,
        {"accuracy": 0.948, "precision": 0.98, "recall": 0.91, "f1": 0.94},
    ),
    System(
        "mobilenetv2-transfer", 5, "MobileNetV2, frozen ImageNet features", 128, "imagenet", "symmetric", 1e-3,
        {"accuracy": 0.987, "precision": 0.99, "recall": 0.98, "f1": 0.98}, epochs=20, frozen=True,
    ),
    System(
        "mobilenet-augmented", 6, "MobileNet (v1) with augmentation", 224, "imagenet", "symmetric", 1e-4,
        {"accuracy": 0.62, "auc": 0.490, "precision": 0.21, "recall": 0.24, "f1": 0.23}, augmented=True,
    ),
    System(
        "mobilenetv2-box", 7, "MobileNetV2, frozen, with one regressed box", 128, "imagenet", "symmetric", 1e-3,
        {"accuracy": 0.82}, epochs=20, frozen=True, one_box=True,
    ),
)  # fmt: skip


def find_system(name: str) -> System:
    """The system called `name`, or with that row number in the report ("5").

    Raises
    ------
    UsageFault : there is none; the message lists the names.
    """
    for system in SYSTEMS:
        if name in (system.name, str(system.reference)):
            return system
    raise UsageFault(f"no system {name!r}; expected one of {', '.join(s.name for s in SYSTEMS)} (or its row, 1 to 7)")


def list_systems() -> list[dict[str, Any]]:
    """Every system and our detector: name, reference row or None, input [h, w, c], parameters, trainable.

    The graphs are built and counted, which takes some ten seconds, mostly TensorFlow's import.
    """
    from edge_pneumo.train.detector import DetectorConfig, build_detector
    from edge_pneumo.train.systems.graphs import build_system, builder_of

    graphs: dict[Any, Any] = {}  # DenseNet-121 alone takes seconds to build
    rows = []
    for system in SYSTEMS:
        key = (builder_of(system), system.one_box)
        if key not in graphs:
            graphs[key] = build_system(system)
        rows.append(_row(system.name, system.reference, system.title, graphs[key]))
    detector = build_detector(DetectorConfig())
    return [*rows, _row("detector", None, "Our detector: MobileNetV2, dense box head", detector)]


def _row(name: str, reference: int | None, title: str, model: Any) -> dict[str, Any]:
    trainable = sum(int(w.shape.num_elements()) for w in model.trainable_weights)
    shape = [int(side) for side in model.input_shape[1:]]
    parameters = int(model.count_params())
    return {
        "name": name, "reference": reference, "title": title, "input": shape,
        "parameters": parameters, "trainable": trainable,
    }  # fmt: skip
