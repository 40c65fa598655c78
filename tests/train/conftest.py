"""What the training tests share."""

from __future__ import annotations

import pytest


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
