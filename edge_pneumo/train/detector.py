"""The detector: MobileNetV2 on one grey channel with an image logit and a dense multi-box head, as one flat functional
graph of layers that TFMOT can quantise.

Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, table 2; the head is a light
centre-based detector (Tian et al., "FCOS", ICCV 2019; Zhou et al., "Objects as Points", 2019) on the stride-16 level
with the stride-32 level added in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edge_pneumo.errors import UsageFault

# expansion, output channels, repeats, first stride (table 2 of the paper)
BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


@dataclass(frozen=True)
class DetectorConfig:
    """Shape of the detector.

    Attributes
    ----------
    size_px : input side, a multiple of 32.
    alpha : width multiplier, 0.35 to 1.0.
    head_channels : width of the box head.
    findings : auxiliary image-level outputs used only while training (0 = none).
    dropout : rate before the image logit.
    hidden : channels between the linear bottlenecks, where some were taken out (see prune.py): of the stem, then of
        each block from the second on. Empty = the paper's.
    """

    size_px: int = 256
    alpha: float = 1.0
    head_channels: int = 96
    findings: int = 0
    dropout: float = 0.3
    hidden: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        paper = hidden_channels(self.alpha)
        if self.hidden and (len(self.hidden) != len(paper) or min(self.hidden) < 1):
            raise UsageFault(f"hidden must name {len(paper)} numbers of channels, found {list(self.hidden)}")
        if self.size_px % 32 or self.size_px < 32:
            raise UsageFault(f"the input size must be a multiple of 32, found {self.size_px}")
        if not 0.35 <= self.alpha <= 1.0:
            raise UsageFault(f"alpha must lie in 0.35..1.0, found {self.alpha}")


def channels(value: float, divisor: int = 8) -> int:
    """Round a channel count as the paper's code does: to a multiple of 8, never more than 10 % down."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def hidden_channels(alpha: float) -> tuple[int, ...]:
    """The paper's channels between the linear bottlenecks: of the stem, then of each block from the second on."""
    hidden = [before := channels(32 * alpha)]
    for expansion, width, repeats, _ in BLOCKS:
        for _ in range(repeats):
            if expansion != 1:
                hidden.append(before * expansion)
            before = channels(width * alpha)
    return tuple(hidden)


def build_detector(config: DetectorConfig) -> Any:
    """A tf_keras functional model: float32 (n, size, size, 1) as `InputSpec.normalise` gives -> dict of outputs.

    Outputs (float32): `image_logit` (n, 1), `heat` (n, g, g, 1), `ltrb` (n, g, g, 4), and `findings` (n, f) if asked
    for, with g = size / 16. Layer names are stable: weights are saved and matched by them.
    """
    from tf_keras import Model, layers

    def conv(x: Any, filters: int, kernel: int, stride: int, name: str, relu: bool = True) -> Any:
        x = layers.Conv2D(filters, kernel, stride, "same", use_bias=False, name=name)(x)
        x = layers.BatchNormalization(momentum=0.97, epsilon=1e-3, name=f"{name}_bn")(x)
        return layers.ReLU(6.0, name=f"{name}_relu")(x) if relu else x

    def depthwise(x: Any, stride: int, name: str) -> Any:
        x = layers.DepthwiseConv2D(3, stride, "same", use_bias=False, name=name)(x)
        x = layers.BatchNormalization(momentum=0.97, epsilon=1e-3, name=f"{name}_bn")(x)
        return layers.ReLU(6.0, name=f"{name}_relu")(x)

    film = layers.Input((config.size_px, config.size_px, 1), name="film")
    hidden = config.hidden or hidden_channels(config.alpha)
    x = conv(film, hidden[0], 3, 2, "stem")
    index, level16 = 0, None
    for expansion, width, repeats, first_stride in BLOCKS:
        out = channels(width * config.alpha)
        for repeat in range(repeats):
            stride, start, name = (first_stride if repeat == 0 else 1), x, f"block{index}"
            if expansion != 1:
                x = conv(x, hidden[index], 1, 1, f"{name}_expand")
            x = depthwise(x, stride, f"{name}_depthwise")
            x = conv(x, out, 1, 1, f"{name}_project", relu=False)
            if stride == 1 and index > 0 and start.shape[-1] == out:  # a stem cut to `out` channels gets no sum
                x = layers.Add(name=f"{name}_add")([start, x])
            index += 1
            if index == 13:  # last block of stride 16
                level16 = x
    x = conv(x, 1280, 1, 1, "top")
    width = config.head_channels
    deep = conv(x, width, 1, 1, "lateral32")
    up = layers.UpSampling2D(2, interpolation="nearest", name="upsample")(deep)
    y = layers.Add(name="merge")([up, conv(level16, width, 1, 1, "lateral16")])
    for step in range(2):
        y = depthwise(y, 1, f"head{step}_depthwise")
        y = conv(y, width, 1, 1, f"head{step}_point")
    # a prior of 2 % (Lin et al., "Focal loss", ICCV 2017, 4.1) keeps the first steps from being all background
    heat = layers.Conv2D(1, 1, name="heat", bias_initializer=_constant(-3.9))(y)
    ltrb = layers.Conv2D(4, 1, name="ltrb", bias_initializer=_constant(1.1))(y)
    pooled = layers.GlobalAveragePooling2D(name="image_pool")(x)
    pooled = layers.Dropout(config.dropout, name="image_dropout")(pooled)
    outputs = {"image_logit": layers.Dense(1, name="image_logit")(pooled), "heat": heat, "ltrb": ltrb}
    if config.findings:
        outputs["findings"] = layers.Dense(config.findings, name="findings")(pooled)
    return Model(film, outputs, name="edge_pneumo_detector")


def _constant(value: float) -> Any:
    from tf_keras.initializers import Constant

    return Constant(value)
