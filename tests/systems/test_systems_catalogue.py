"""The systems as data, the names in weights files, and answers: nothing here needs TensorFlow."""

import subprocess
import sys

import numpy as np
import pytest

from edge_pneumo.edge_runtime.decode import DecodeSpec
from edge_pneumo.edge_runtime.preprocess import Geometry
from edge_pneumo.errors import UsageFault
from edge_pneumo.train.systems import SYSTEMS, find_system
from edge_pneumo.train.systems.feed import to_network
from edge_pneumo.train.systems.table import Plan
from edge_pneumo.train.systems.trained import finding
from edge_pneumo.train.systems.trivial import middle_brightness
from edge_pneumo.train.systems.weightfiles import densenet_variable

SPEC = DecodeSpec(image_weight=1.0, heat_weight=0.0, operating_points={"balanced": 0.5}, box_threshold=0.5, max_boxes=1)
HALF = Geometry(0.5, 0.5, 0, 8, 256, 224)


def test_seven_systems_in_the_order_of_the_report():
    assert [system.reference for system in SYSTEMS] == [1, 2, 3, 4, 5, 6, 7]
    assert len({system.name for system in SYSTEMS}) == 7


@pytest.mark.parametrize(("name", "reference"), [("cnn", 4), ("4", 4), ("densenet121-chexnet", 2)])
def test_a_system_is_found_by_name_or_row(name, reference):
    assert find_system(name).reference == reference


def test_an_unknown_system_lists_the_known():
    with pytest.raises(UsageFault, match=r"no system 'vgg'; expected one of densenet121, .*mobilenetv2-box"):
        find_system("vgg")
    with pytest.raises(UsageFault, match="no system 'vgg'"):
        Plan(data="x", epochs={"vgg": 1})


@pytest.mark.parametrize(
    ("scaling", "black", "white"),
    [
        ("unit", [0, 0, 0], [1, 1, 1]),
        ("symmetric", [-1, -1, -1], [1, 1, 1]),
        ("imagenet", [-2.1179, -2.0357, -1.8044], [2.2489, 2.4286, 2.64]),  # torchvision's Normalize of 0 and 1
    ],
)
def test_grey_becomes_three_channels_in_the_range_of_the_system(scaling, black, white):
    grey = np.array([0, 255], np.uint8).reshape(1, 1, 2, 1)
    result = to_network(grey, scaling)
    assert result.shape == (1, 1, 2, 3) and result.dtype == np.float32
    np.testing.assert_allclose(result[0, 0], [black, white], atol=1e-4)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("features.conv0.weight", "conv1/conv/kernel:0"),
        ("module.densenet121.features.norm0.running_var", "conv1/bn/moving_variance:0"),
        ("features.denseblock1.denselayer1.norm1.weight", "conv2_block1_0_bn/gamma:0"),
        ("features.denseblock4.denselayer16.conv2.weight", "conv5_block16_2_conv/kernel:0"),
        ("module.densenet121.features.denseblock2.denselayer3.norm.2.bias", "conv3_block3_1_bn/beta:0"),
        ("features.denseblock2.denselayer3.conv.1.weight", "conv3_block3_1_conv/kernel:0"),
        ("features.transition3.norm.running_mean", "pool4_bn/moving_mean:0"),
        ("features.transition1.conv.weight", "pool2_conv/kernel:0"),
        ("features.norm5.bias", "bn/beta:0"),
        ("classifier.weight", None),
        ("features.conv0.bias", None),
        ("features.norm0.num_batches_tracked", None),
        ("layer1.0.conv1.weight", None),
    ],
)
def test_torchvision_names_of_densenet(name, expected):
    assert densenet_variable(name) == expected


@pytest.mark.parametrize(
    ("logit", "box", "expected"),
    [
        (2.0, None, []),
        (2.0, [10, 18, 60, 58], [(20.0, 20.0, 120.0, 100.0)]),
        (-2.0, [10, 18, 60, 58], []),  # the film is called negative
        (2.0, [60, 18, 10, 58], []),  # left is right of right
        (2.0, [-50, 0, 500, 500], [(0.0, 0.0, 256.0, 224.0)]),  # clipped to the film
    ],
)
def test_one_box_at_most_and_in_source_pixels(logit, box, expected):
    found = finding(logit, None if box is None else np.array(box, np.float32), SPEC, HALF)
    assert found.probability == pytest.approx(1 / (1 + np.exp(-logit)))
    assert [(b.x1, b.y1, b.x2, b.y2) for b in found.boxes] == expected
    assert all(b.score == found.probability for b in found.boxes)


def test_help_and_the_catalogue_need_no_tensorflow():
    code = (
        "import sys; from click.testing import CliRunner; from edge_pneumo.commands.systems import systems;"
        "import edge_pneumo.train.systems; r = CliRunner().invoke(systems, ['--help']);"
        "assert r.exit_code == 0 and 'Examples' in r.output, r.output;"
        "assert not {'tensorflow', 'tf_keras', 'h5py', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [("--epochs", "cnn=none", "--epochs takes N"), ("--epochs", "0", "at least 1"), ("--weights", "a.h5", "NAME=FILE")],
)
def test_wrong_options_say_what_is_expected(option, value, message, monkeypatch):
    from click.testing import CliRunner

    from edge_pneumo.commands.systems import systems
    from edge_pneumo.train import run

    monkeypatch.setattr(run, "require_tensorflow", lambda: None)
    result = CliRunner().invoke(systems, ["--data", "x", "--out", "y", option, value])
    assert result.exit_code == 2 and message in result.output


def test_middle_brightness_is_the_middle_against_the_whole():
    film = np.zeros((1, 8, 8, 1), np.uint8)
    film[:, 2:6, 2:6] = 100
    np.testing.assert_allclose(middle_brightness(film), [100 - 25])
