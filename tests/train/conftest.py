"""What the training tests share."""

from __future__ import annotations

import pytest

from edge_pneumo.train.data.index import load_dataset
from edge_pneumo.train.data.phantom import make_phantom


class PowerCut(BaseException):
    """What ends a run between two epochs, as far as the run can tell."""


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Sixty made-up films with splits."""
    folder = tmp_path_factory.mktemp("films")
    make_phantom(folder, 60, size_px=128)
    return load_dataset(folder)


@pytest.fixture
def go():
    """Train from random weights; what was said. With `cut_at`, the power fails as that is said."""

    def train(films, out, config, *, cut_at: str | None = None, **options) -> list[str]:
        from edge_pneumo.train.fit import train_detector

        said: list[str] = []

        def say(sentence: str) -> None:
            said.append(sentence)
            if cut_at is not None and sentence.startswith(cut_at):
                raise PowerCut

        if cut_at is None:
            train_detector(config, films, out, weights="none", say=say, **options)
        else:
            with pytest.raises(PowerCut):
                train_detector(config, films, out, weights="none", say=say, **options)
        return said

    return train


@pytest.fixture(scope="module")
def eager():
    """Tracing the graph is the slow part of a run of four steps."""
    from edge_pneumo.train.run import require_tensorflow

    pytest.importorskip("tensorflow", reason="needs the extra `train`")
    require_tensorflow()
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)
