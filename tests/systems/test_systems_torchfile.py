"""PyTorch files read without PyTorch. `files/state_*.pth*` were saved by PyTorch 1.13, in both of its layouts."""

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edge_pneumo.errors import DataError
from edge_pneumo.train.systems.torchfile import read_torch_tensors

FILES = Path(__file__).parent / "files"
SAVED = ("state_zip.pth", "state_legacy.pth.tar")


@pytest.mark.parametrize("name", SAVED)
def test_a_state_dict_saved_by_pytorch_comes_back(name):
    state = read_torch_tensors(FILES / name)
    assert list(state) == ["a", "b", "n", "h", "bf", "view"]
    np.testing.assert_array_equal(state["a"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(state["b"], [[0, 3], [1, 4], [2, 5]])  # saved as a transposed view
    np.testing.assert_array_equal(state["view"], [3, 4, 5])  # shares storage with a
    assert state["n"] == 7 and state["n"].dtype == np.int64
    np.testing.assert_array_equal(state["h"], np.array([1.5, -2], np.float16))
    np.testing.assert_array_equal(state["bf"], np.array([1.5, -2], np.float32))


@pytest.mark.parametrize("name", SAVED)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_file_cut_short_is_refused(name, share, tmp_path):
    whole = (FILES / name).read_bytes()
    path = tmp_path / "cut.pth"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataError, match=r"cut\.pth cannot be read as a PyTorch file"):
        read_torch_tensors(path)


@pytest.mark.parametrize("name", SAVED)
def test_a_file_with_a_flipped_byte_is_read_or_refused(name, tmp_path):
    whole = (FILES / name).read_bytes()
    rng, path = np.random.default_rng(0), tmp_path / "flipped.pth"
    for position in rng.integers(0, len(whole), 150):
        damaged = bytearray(whole)
        damaged[position] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            read_torch_tensors(path)
        except DataError as error:
            assert "flipped.pth" in str(error)


def torch_zip(path: Path, data_pkl: bytes, compression: int = zipfile.ZIP_STORED, storage: bytes = bytes(16)) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", data_pkl)
        archive.writestr("archive/data/0", storage)
    return path


class Marker:
    """Pickles to a call of os.system that leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_nothing_in_the_file_is_run(tmp_path):
    mark = tmp_path / "was-run"
    path = torch_zip(tmp_path / "evil.pth", pickle.dumps({"state_dict": Marker(mark)}))
    with pytest.raises(DataError, match="no state dict"):
        read_torch_tensors(path)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Marker(mark)))  # the same bytes do harm where they are trusted
    assert mark.exists()


def test_a_whole_pickled_model_is_refused_with_advice(tmp_path):
    path = torch_zip(tmp_path / "model.pth", pickle.dumps(io.StringIO))
    with pytest.raises(DataError, match=r"save model\.state_dict\(\)"):
        read_torch_tensors(path)


def tensor_pickle(offset: int, size: tuple[int, ...], stride: tuple[int, ...], numel: int = 4) -> bytes:
    """A state dict with one float tensor in storage 0, written opcode by opcode (PyTorch is not here to do it)."""

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(b"I%d\n" % value for value in values) + b"t"

    storage = b"(Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI%d\ntQ" % numel
    arguments = b"(" + storage + b"I%d\n" % offset + numbers(size) + numbers(stride) + b"I00\n}t"
    return b"}Vw\nctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"Rs."


def test_the_hand_written_pickle_is_read(tmp_path):
    path = torch_zip(tmp_path / "w.pth", tensor_pickle(1, (3,), (1,)), storage=np.arange(4, dtype="<f4").tobytes())
    np.testing.assert_array_equal(read_torch_tensors(path)["w"], [1, 2, 3])


@pytest.mark.parametrize(
    ("offset", "size", "stride", "numel", "message"),
    [
        (2, (3,), (1,), 4, "beyond its storage"),
        (0, (2, 2), (4, 1), 4, "beyond its storage"),
        (0, (1 << 40,), (0,), 4, "beyond its storage"),
        (-1, (2,), (1,), 4, "impossible shape"),
        (0, (2,), (-1,), 4, "impossible shape"),
        (0, (2, 2), (1,), 4, "impossible shape"),
        (0, (4,), (1,), 5, "cut short"),
    ],
)
def test_a_tensor_outside_its_storage_is_refused(offset, size, stride, numel, message, tmp_path):
    path = torch_zip(tmp_path / "bad.pth", tensor_pickle(offset, size, stride, numel))
    with pytest.raises(DataError, match=message):
        read_torch_tensors(path)


def test_a_compressed_storage_is_refused(tmp_path):
    path = torch_zip(tmp_path / "bomb.pth", tensor_pickle(0, (4,), (1,)), zipfile.ZIP_DEFLATED)
    with pytest.raises(DataError, match="storage 0 is compressed"):
        read_torch_tensors(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"cannot read the weights .*absent\.pth"):
        read_torch_tensors(tmp_path / "absent.pth")
