from __future__ import annotations

from functools import cache as remember
from functools import partial

import pytest
from quantize_mini import fit_mini, make_films, mini_run


@pytest.fixture(scope="session")
def blobs():
    return make_films(40)


@pytest.fixture(scope="session")
def mini(blobs, tmp_path_factory):
    """A float run of the miniature detector."""
    pytest.importorskip("tensorflow", reason="needs the extra `train`")
    from edge_pneumo.train.run import require_tensorflow

    require_tensorflow()
    return mini_run(fit_mini(blobs), tmp_path_factory.mktemp("mini"))


@pytest.fixture(autouse=True, scope="session")
def blobs_pass_for_films():
    """The door refuses pictures that do not look like a chest; here it is forced open, as --force does. And their few
    greys are not spread, or noise without a blob would look like one with."""
    from edge_pneumo.edge_runtime import grey
    from edge_pneumo.train.data import cache

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grey, "evened", lambda picture: picture)
        patch.setattr(cache, "read_radiograph", partial(cache.read_radiograph, force=True))
        yield


@pytest.fixture(autouse=True, scope="session")
def each_model_is_exported_once():
    """TensorFlow's converter is the slow part; the models of these tests do not change once they are made."""
    from edge_pneumo.quantize import export

    with pytest.MonkeyPatch.context() as patch:
        for maker in ("float_tflite", "qat_tflite"):
            patch.setattr(export, maker, remember(getattr(export, maker)))
        yield
