"""The phantom: RSNA's headers, honest boxes, the same films from the same seed, nothing half-written."""

from __future__ import annotations

import errno
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEGBaseline8Bit, SecondaryCaptureImageStorage

from edge_pneumo.edge_runtime.radiograph import read_radiograph
from edge_pneumo.errors import UsageFault, WriteFailed
from edge_pneumo.train.data.index import load_dataset
from edge_pneumo.train.data.kaggle import IMAGES, LABELS
from edge_pneumo.train.data.phantom import make_phantom
from edge_pneumo.train.data.phantom.dataset import plan_films


def test_headers_are_as_rsnas(phantom_once: Path) -> None:
    photometric = Counter()
    for path in (phantom_once / IMAGES).iterdir():
        film = pydicom.dcmread(path)
        assert film.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
        assert film.SOPClassUID == SecondaryCaptureImageStorage
        assert (film.Modality, film.BodyPartExamined, film.PatientID) == ("CR", "CHEST", path.stem)
        assert film.get_item("PatientAge").value.strip().isdigit()  # "32", not "032Y"
        assert (film.Rows, film.Columns, film.BitsStored) == (128, 128, 8)
        photometric[film.PhotometricInterpretation] += 1
    assert photometric["MONOCHROME1"] > 0
    assert photometric["MONOCHROME2"] > photometric["MONOCHROME1"]


def test_both_polarities_show_the_same_chest(phantom_once: Path) -> None:
    for path in (phantom_once / IMAGES).iterdir():
        pixels = read_radiograph(path).pixels.astype(float)
        shoulders, spine = pixels[8:40, [2, 3, 124, 125]].mean(), pixels[60:120, 60:68].mean()
        assert spine > shoulders + 10, "air beside the neck must be darker than the spine"


def test_same_seed_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    def made(name: str, seed: int, jobs: int) -> dict[str, bytes]:
        folder = make_phantom(tmp_path / name, 4, seed, 128, jobs=jobs)
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    assert made("a", 5, 1) == made("b", 5, 3)
    assert set(made("c", 6, 2)) != set(made("d", 5, 2))


def test_plans_are_balanced_and_groups_are_patients() -> None:
    plans = plan_films(400, seed=1)
    assert Counter(plan.class_name for plan in plans) == {
        "Lung Opacity": 144,
        "No Lung Opacity / Not Normal": 136,
        "Normal": 120,
    }
    assert {plan.case.opacities for plan in plans} == {0, 1, 2, 3, 4}
    assert all((plan.case.opacities > 0) == (plan.class_name == "Lung Opacity") for plan in plans)
    films_of = Counter(plan.group for plan in plans)
    assert set(films_of.values()) == {1, 2}
    of_group = {}
    for plan in plans:
        assert of_group.setdefault(plan.group, plan.case.body.sex) == plan.case.body.sex
    assert len({plan.film_id for plan in plans}) == 400


def test_boxes_lie_on_films_and_are_brighter_than_healthy_lung(tmp_path: Path) -> None:
    dataset = load_dataset(make_phantom(tmp_path / "p", 20, seed=2, size_px=128))
    inside, everywhere = [], []
    for film in dataset:
        pixels = read_radiograph(film.read()).pixels
        (inside if film.label else everywhere).append(pixels)
        for x1, y1, x2, y2 in film.boxes_xyxy:
            assert 0 <= x1 < x2 <= 128
            assert 0 <= y1 < y2 <= 128
            assert min(x2 - x1, y2 - y1) >= 8
    healthy = np.mean(everywhere, axis=0)
    sick = np.array(
        [
            read_radiograph(film.read()).pixels[int(y1) : int(y2), int(x1) : int(x2)].mean()
            - healthy[int(y1) : int(y2), int(x1) : int(x2)].mean()
            for film in dataset
            for x1, y1, x2, y2 in film.boxes_xyxy
        ]
    )
    assert sick.mean() > 5
    assert dataset.split_sizes == {"train": 14, "val": 4, "test": 2}


def test_command(tmp_path: Path, cli) -> None:
    code, out, err = cli("data", "phantom", "-o", tmp_path / "p", "-n", 5, "--size", 128, "--format", "json")
    result = json.loads(out)
    assert (code, err) == (0, "")
    assert result["films"] == 5
    assert result["hash"] == load_dataset(tmp_path / "p").split_hash
    code, _, err = cli("data", "phantom", "-o", tmp_path / "p", "-n", 5)
    assert code == 2
    assert "already holds films" in err


@pytest.mark.parametrize(("n", "seed", "size"), [(0, 0, 128), (1, -1, 128), (1, 0, 64), (1, 0, 9000)])
def test_numbers_out_of_range(tmp_path: Path, n: int, seed: int, size: int) -> None:
    with pytest.raises(UsageFault, match="expected n >= 1"):
        make_phantom(tmp_path / "p", n, seed, size)
    assert not (tmp_path / "p").exists()


def test_full_disk_leaves_no_label_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("edge_pneumo.edge_runtime.files.os.fsync", full)
    with pytest.raises(WriteFailed, match="No space left"):
        make_phantom(tmp_path / "p", 3, size_px=128)
    assert not (tmp_path / "p" / LABELS).exists()
    assert list((tmp_path / "p" / IMAGES).iterdir()) == []
    (tmp_path / "file").write_text("x")
    with pytest.raises(WriteFailed, match="cannot make"):
        make_phantom(tmp_path / "file" / "p", 1, size_px=128)
