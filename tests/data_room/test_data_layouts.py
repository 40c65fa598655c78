"""COCO, YOLO, folders of classes and NIH: the same films and boxes, whatever they are written in."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge_pneumo.errors import DataError
from edge_pneumo.train.data.check import check_dataset
from edge_pneumo.train.data.film import DataSet
from edge_pneumo.train.data.findings import is_opacity, split_named
from edge_pneumo.train.data.index import load_dataset

WIDTH, HEIGHT = 80, 60


def picture(path: Path, width: int = WIDTH, height: int = HEIGHT, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width), np.uint8)).save(path)
    return path


def coco(**changes: Any) -> dict[str, Any]:
    document = {
        "images": [
            {"id": 1, "file_name": "a.png", "width": WIDTH, "height": HEIGHT, "patient_id": "p1"},
            {"id": 2, "file_name": "b.png", "width": WIDTH, "height": HEIGHT},
            {"id": 7, "file_name": "c.png", "width": WIDTH, "height": HEIGHT},
        ],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 3, "bbox": [10, 5, 20, 30]},
            {"id": 2, "image_id": 1, "category_id": 3, "bbox": [50.5, 5, 20, 30]},
            {"id": 3, "image_id": 7, "category_id": 9, "bbox": [1, 1, 5, 5]},
        ],
        "categories": [{"id": 3, "name": "Lung Opacity"}, {"id": 9, "name": "nodule"}],
    }
    return document | changes


def coco_folder(folder: Path, document: dict[str, Any], name: str = "annotations/instances_train.json") -> Path:
    for i, letter in enumerate("abc"):
        picture(folder / "images" / f"{letter}.png", seed=i)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(document))
    return folder


def by_name(dataset: DataSet) -> dict[str, Any]:
    return {Path(film.path).stem: film for film in dataset}


def test_coco_boxes_are_those_of_pycocotools(tmp_path: Path) -> None:
    oracle = pytest.importorskip("pycocotools.coco")
    folder = coco_folder(tmp_path, coco())
    with contextlib.redirect_stdout(io.StringIO()):
        api = oracle.COCO(str(folder / "annotations" / "instances_train.json"))
    films = by_name(load_dataset(folder))
    for image in api.dataset["images"]:
        expected = {
            (x, y, x + w, y + h)
            for x, y, w, h in (a["bbox"] for a in api.loadAnns(api.getAnnIds(imgIds=image["id"], catIds=[3])))
        }
        film = films[Path(image["file_name"]).stem]
        assert set(film.boxes_xyxy) == expected
        assert film.label == bool(expected)
    assert films["a"].group == "p1"
    assert {film.split for film in films.values()} == {"train"}


@pytest.mark.parametrize("name", ["labels.json", "annotations/instances_val2017.json", "images/_annotations.coco.json"])
def test_coco_file_may_lie_anywhere_usual(tmp_path: Path, name: str) -> None:
    folder = coco_folder(tmp_path, coco(), name)
    assert len(load_dataset(folder)) == 3


def test_coco_file_itself(tmp_path: Path) -> None:
    folder = coco_folder(tmp_path, coco(), "mine.json")
    assert len(load_dataset(folder / "mine.json")) == 3
    (folder / "other.json").write_text('{"images": 3}')
    with pytest.raises(DataError, match="not COCO JSON"):
        load_dataset(folder / "other.json")


def test_coco_without_a_known_name_takes_every_category(tmp_path: Path) -> None:
    folder = coco_folder(tmp_path, coco(categories=[{"id": 3, "name": "thing"}, {"id": 9, "name": "nodule"}]))
    assert [film.label for film in load_dataset(folder)] == [1, 0, 1]


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"annotations": [{"id": 1, "image_id": 99, "category_id": 3, "bbox": [1, 1, 2, 2]}]}, "box-without-image"),
        ({"annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 1, 2]}]}, "bad-value"),
        ({"annotations": [{"id": 1, "image_id": 1, "category_id": 44, "bbox": [1, 1, 2, 2]}]}, "bad-value"),
        ({"annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [70, 1, 20, 2]}]}, "box-off-film"),
        ({"annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [7, 1, 0, 2]}]}, "empty-box"),
        ({"images": [{"id": 1, "file_name": "nowhere.png"}], "annotations": []}, "row-without-film"),
        ({"images": [{"id": 1, "file_name": "a.png"}], "annotations": []}, "film-without-row"),
        ({"images": [{"file_name": "a.png"}], "annotations": []}, "bad-value"),
    ],
)
def test_coco_faults(tmp_path: Path, changes: dict[str, Any], kind: str) -> None:
    report = check_dataset(coco_folder(tmp_path, coco(**changes)), progress=False)
    assert kind in {fault.kind for fault in report.faults}


def test_yolo_boxes_are_in_pixels_and_empty_texts_are_negative(tmp_path: Path) -> None:
    for i, name in enumerate(("train/a", "train/b", "val/c", "val/d")):
        picture(tmp_path / "images" / f"{name}.png", seed=i)
    labels = tmp_path / "labels"
    (labels / "train").mkdir(parents=True)
    (labels / "val").mkdir()
    (labels / "train" / "a.txt").write_text("0 0.5 0.5 0.25 0.5\n1 0.1 0.1 0.1 0.1\n")
    (labels / "train" / "b.txt").write_text("")
    (labels / "val" / "c.txt").write_text("0 0.25 0.5 0.5 1.0\n0 0.25 0.5 0.5 1.0\n")
    (tmp_path / "data.yaml").write_text("path: .\nnames:\n  0: opacity\n  1: nodule\nnc: 2\n")
    films = by_name(load_dataset(tmp_path))
    assert films["a"].boxes_xyxy == ((30.0, 15.0, 50.0, 45.0),)
    assert films["c"].boxes_xyxy == ((0.0, 0.0, 40.0, 60.0),)
    assert (films["b"].label, films["b"].split, films["c"].split) == (0, "train", "val")
    assert "d" not in films  # no text: not known, so not a negative
    kinds = {fault.kind for fault in check_dataset(tmp_path, progress=False).faults}
    assert {"film-without-row", "duplicate-row", "one-label"} - kinds == {"one-label"}


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("0 0.5 0.5 0.2", "bad-value"),
        ("x 0.5 0.5 0.2 0.2", "bad-value"),
        ("0 0.95 0.5 0.3 0.2", "box-off-film"),
        ("0 0.5 0.5 0 0.2", "empty-box"),
        ("5 0.5 0.5 0.2 0.2", "bad-value"),
    ],
)
def test_yolo_faults(tmp_path: Path, line: str, kind: str) -> None:
    picture(tmp_path / "images" / "a.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text(line + "\n")
    (tmp_path / "labels" / "lost.txt").write_text("")
    (tmp_path / "classes.txt").write_text("opacity\n")
    kinds = {fault.kind for fault in check_dataset(tmp_path, progress=False).faults}
    assert {kind, "row-without-film"} <= kinds


def test_yolo_names_on_one_line(tmp_path: Path) -> None:
    picture(tmp_path / "train" / "images" / "a.png")
    (tmp_path / "train" / "labels").mkdir()
    (tmp_path / "train" / "labels" / "a.txt").write_text("0 0.5 0.5 0.25 0.5\n")
    (tmp_path / "data.yaml").write_text("names: ['nodule', 'pneumonia']\n")
    film = load_dataset(tmp_path).films[0]
    assert (film.label, film.split) == (0, "train")


def test_folders_of_classes_with_kermanys_names(tmp_path: Path) -> None:
    names = ("train/NORMAL/IM-0115-0001", "train/NORMAL/IM-0115-0002", "train/PNEUMONIA/person1_bacteria_1",
             "train/PNEUMONIA/person1_virus_6", "test/PNEUMONIA/person1_virus_7", "test/NORMAL/NORMAL2-IM-0007-0001",
             "test/other/x")  # fmt: skip
    for i, name in enumerate(names):
        picture(tmp_path / f"{name}.jpg", seed=i)
    dataset = load_dataset(tmp_path)
    assert dataset.split_sizes == {"train": 4, "test": 2}
    assert [(film.label, film.class_name, film.group) for film in dataset] == [
        (0, "NORMAL", "test/NORMAL2-IM-0007"),
        (1, "PNEUMONIA", "test/person1"),
        (0, "NORMAL", "train/IM-0115"),
        (0, "NORMAL", "train/IM-0115"),
        (1, "PNEUMONIA", "train/person1"),
        (1, "PNEUMONIA", "train/person1"),
    ]
    assert dataset.warnings == (f"1 x film-without-row; `edge-pneumo data check {tmp_path}` names them",)


def test_folders_of_classes_without_splits(tmp_path: Path) -> None:
    for i in range(20):
        picture(tmp_path / ("normal" if i % 2 else "Pneumonia") / f"{i}.png", seed=i)
    assert load_dataset(tmp_path).split_sizes == {"train": 16, "val": 2, "test": 2}


OFFICIAL = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,OriginalImage[Width,"
    "Height],OriginalImagePixelSpacing[x,y],\n"
    "00000001_000.png,Pneumonia|Effusion,0,1,058Y,M,PA,2682,2749,0.143,0.143,\n"
    "00000001_001.png,Effusion,1,1,059Y,M,AP,2682,2749,0.143,0.143,\n"
    "00000002_000.png,No Finding,0,2,33,F,PA,2500,2048,0.168,0.168,\n"
    "00000003_000.png,Infiltration,0,3,70,F,PA,2500,2048,0.168,0.168,\n"
)


def test_nih_as_served(tmp_path: Path) -> None:
    (tmp_path / "Data_Entry_2017.csv").write_text(OFFICIAL)
    (tmp_path / "BBox_List_2017.csv").write_text(
        "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
        "00000001_000.png,Pneumonia,256,128,512,256,,,\n00000001_000.png,Effusion,1,2,3,4,,,\n"
    )
    for i, name in enumerate(("00000001_000", "00000001_001", "00000002_000")):
        picture(tmp_path / f"images_00{i + 1}" / "images" / f"{name}.png", 64, 64, seed=i)
    dataset = load_dataset(tmp_path)
    sick, other, well = dataset.films
    assert sick.boxes_xyxy == ((16.0, 8.0, 48.0, 24.0),)  # of 1024 px, on a film of 64
    assert [film.label for film in dataset] == [1, 0, 0]
    assert (sick.group, sick.age_years, sick.sex, sick.view, sick.weight) == ("1", 58.0, "M", "PA", 1.0)
    assert (other.class_name, other.weight, well.class_name) == ("No Lung Opacity / Not Normal", 0.5, "Normal")
    assert "1 x row-without-film" in dataset.warnings[0]
    assert "00000003" not in dataset.warnings[0]  # logs name no patient


def test_radiologists_outrank_reports(tmp_path: Path) -> None:
    header = "image,nih_patient,nih_findings,age,sex,view,nih_boxes\n"
    rows = [
        "a.jpg,1,Atelectasis,54,F,AP,",
        "b.jpg,2,Pneumonia,54,F,AP,",
        'c.jpg,3,Infiltration,5,M,PA,"Infiltrate:0,0,512,512"',
    ]
    (tmp_path / "labels.csv").write_text(header + "\n".join(rows) + "\n")
    (tmp_path / "chestxdet10_boxes.csv").write_text(
        "image,finding,x1,y1,x2,y2\na.jpg,Consolidation,512,512,1024,1024\na.jpg,Mass,1,1,2,2\nb.jpg,,,,,\n"
    )
    for i, letter in enumerate("abc"):
        picture(tmp_path / "images" / f"{letter}.jpg", 512, 512, seed=i)
    a, b, c = load_dataset(tmp_path).films
    assert (a.label, a.boxes_xyxy, a.weight) == (1, ((256.0, 256.0, 512.0, 512.0),), 1.0)
    assert (b.label, b.boxes_xyxy, b.weight, b.class_name) == (0, (), 1.0, "Normal")
    assert (c.label, c.boxes_xyxy, c.weight) == (1, ((0.0, 0.0, 256.0, 256.0),), 1.0)


def test_nih_numbers_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(
        'image,nih_patient,nih_findings,age,sex,view,nih_boxes\na.jpg,1,Pneumonia,54,F,AP,"Pneumonia:1,2,x,4"\n'
    )
    picture(tmp_path / "images" / "a.jpg")
    with pytest.raises(DataError, match=r"labels.csv line 2: expected numbers x, y, width, height"):
        load_dataset(tmp_path)


def test_any_layout_may_be_zipped(tmp_path: Path) -> None:
    folder = coco_folder(tmp_path / "set", coco())
    archive = Path(shutil.make_archive(str(tmp_path / "set"), "zip", folder))
    assert [film.boxes_xyxy for film in load_dataset(archive)] == [film.boxes_xyxy for film in load_dataset(folder)]


@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("train2017", "train"),
        ("instances_val", "val"),
        ("valid", "val"),
        ("TEST", "test"),
        ("trained", None),
        ("x", None),
    ],
)
def test_split_names(text: str, split: str | None) -> None:
    assert split_named(text) == split


@pytest.mark.parametrize(
    ("word", "answer"),
    [("Lung Opacity", True), ("lung_opacity", True), ("PNEUMONIA", True), ("Nodule", False), ("", False)],
)
def test_opacity_words(word: str, answer: bool) -> None:
    assert is_opacity(word) is answer


def test_coco_files_that_break_the_rules_are_faults(tmp_path: Path) -> None:
    document = coco(
        images=[
            {"id": "1", "file_name": "a.png"},
            {"id": 2, "file_name": "b.png", "width": "wide"},
            {"id": [7], "file_name": "c.png", "width": WIDTH // 2, "height": HEIGHT},
            "d.png",
        ],
        annotations=[
            {"id": 1, "image_id": 1, "category_id": 3, "bbox": [10, 5, 20, 30]},
            {"id": 2, "image_id": 1, "category_id": 3, "bbox": [float("nan"), 5, 20, 30]},
            {"id": 3, "image_id": [7], "category_id": 3, "bbox": [1, 1, 5, 5]},
            {"id": 4, "image_id": 1, "category_id": [3], "bbox": [1, 1, 5, 5]},
            7,
        ],
    )
    picture(coco_folder(tmp_path, document) / "images" / "c.png", 128, 96)
    report = check_dataset(tmp_path)
    kinds = {kind: len(faults) for _, kind, faults in report.by_kind()}
    assert kinds["bad-value"] == 5
    assert kinds["wrong-size"] == 1
    assert (report.films, report.positives) == (2, 2)


def test_yolo_shares_must_be_numbers(tmp_path: Path) -> None:
    for i, text in enumerate(("0 nan 0.5 0.1 0.1\n0 0.5 0.5 0.1 0.1", "", "")):
        picture(tmp_path / "images" / f"{i}.png", seed=i)
        (tmp_path / "labels").mkdir(exist_ok=True)
        (tmp_path / "labels" / f"{i}.txt").write_text(text)
    report = check_dataset(tmp_path)
    assert [(kind, faults[0].where) for _, kind, faults in report.by_kind() if kind == "bad-value"] == [
        ("bad-value", "labels/0.txt line 1")
    ]
