"""`data check`: a folder with every fault planted names each of them."""

from __future__ import annotations

import json
from pathlib import Path

import pydicom
import pytest
from pydicom import config
from pydicom.dataelem import DataElement

from edge_pneumo.train.data.index import load_dataset
from edge_pneumo.train.data.kaggle import CLASSES, IMAGES, LABELS, SPLITS


def set_age(film: Path, age: str) -> None:
    header = pydicom.dcmread(film)
    del header.PatientAge
    header.add(DataElement(0x00101010, "AS", age, validation_mode=config.IGNORE))
    header.save_as(film)


def test_every_planted_fault_is_named(phantom: Path, cli) -> None:
    dataset = load_dataset(phantom)
    sick = [film for film in dataset if film.label]
    well = [film for film in dataset if not film.label]
    folder = phantom / IMAGES
    planted: dict[str, str] = {}

    rows = (phantom / LABELS).read_text().splitlines()

    def plant(kind: str, film_id: str, row: str | None = None) -> None:
        planted[kind] = film_id
        if row is not None:
            rows.append(row)

    plant("row-without-film", "ghost", "ghost,,,,,0")
    (folder / "orphan.dcm").write_bytes((folder / f"{well[0].film_id}.dcm").read_bytes())
    plant("film-without-row", "orphan")
    plant("duplicate-row", sick[0].film_id, next(row for row in rows if row.startswith(sick[0].film_id)))
    plant("box-off-film", sick[1].film_id, f"{sick[1].film_id},100,100,60,60,1")
    plant("empty-box", sick[2].film_id, f"{sick[2].film_id},10,10,0,0,1")
    plant("target-without-box", sick[3].film_id, f"{sick[3].film_id},,,,,1")
    plant("conflicting-target", sick[4].film_id, f"{sick[4].film_id},,,,,0")
    plant("bad-value", sick[5].film_id, f"{sick[5].film_id},left,10,20,20,1")
    whole = (folder / f"{well[1].film_id}.dcm").read_bytes()
    (folder / f"{well[1].film_id}.dcm").write_bytes(whole[: len(whole) // 2])
    plant("unreadable-film", well[1].film_id)
    set_age(folder / f"{well[2].film_id}.dcm", "155")
    plant("impossible-age", well[2].film_id)
    (folder / f"{well[4].film_id}.dcm").write_bytes((folder / f"{well[3].film_id}.dcm").read_bytes())
    plant("same-film-twice", well[4].film_id)
    with (phantom / CLASSES).open("a") as table:
        table.write(f"{well[5].film_id},Lung Opacity\n")
    plant("conflicting-class", well[5].film_id)
    splits = (phantom / SPLITS).read_text().splitlines()
    splits += [f"{well[6].film_id},{well[6].group},{'val' if well[6].split != 'val' else 'test'}"]
    (phantom / SPLITS).write_text("\n".join(splits) + "\n")
    plant("patient-in-two-splits", well[6].film_id)
    (phantom / LABELS).write_text("\n".join(rows) + "\n")

    code, out, _ = cli("data", "check", phantom, "--format", "json")
    report = json.loads(out)
    found = {fault["kind"]: fault for fault in report["faults"]}
    assert code == 3
    assert report["trainable"] is False
    assert set(planted) <= set(found)
    for kind, name in planted.items():
        assert any(name in first["where"] for first in found[kind]["first"]), kind
        assert found[kind]["count"] >= len(found[kind]["first"]) > 0
    code, out, _ = cli("data", "check", phantom)
    assert code == 3
    assert all(kind in out for kind in planted)


def test_a_good_folder_ends_with_zero(phantom_once: Path, cli) -> None:
    code, out, _ = cli("data", "check", phantom_once, "--format", "json")
    assert (code, json.loads(out)["faults"]) == (0, [])


@pytest.mark.parametrize("age", ["155", "-5", "old"])
def test_notes_alone_end_with_zero(phantom: Path, cli, age: str) -> None:
    film = sorted((phantom / IMAGES).iterdir())[0]
    set_age(film, age)
    code, out, _ = cli("data", "check", phantom)
    assert code == 0
    assert f"expected 0 to 110 years, found '{age}'" in out


def test_one_patient_in_two_splits_by_group(phantom: Path, cli) -> None:
    lines = [line.split(",") for line in (phantom / SPLITS).read_text().splitlines()]
    for i, line in enumerate(lines[1:]):
        line[1:] = ["same", "train"] if i % 2 else ["same", "val"]
    (phantom / SPLITS).write_text("\n".join(map(",".join, lines)) + "\n")
    code, out, _ = cli("data", "check", phantom, "--no-decode")
    assert code == 3
    assert "same: group has films in train, val" in out


def test_identical_films_with_different_labels_are_grave(phantom: Path, cli) -> None:
    dataset = load_dataset(phantom)
    sick, well = (next(film for film in dataset if film.label == label) for label in (1, 0))
    Path(sick.path).write_bytes(Path(well.path).read_bytes())
    code, out, _ = cli("data", "check", phantom)
    assert code == 3
    assert "the same picture with different labels" in out


def test_one_label_only_is_not_trainable(phantom: Path, cli) -> None:
    lines = (phantom / LABELS).read_text().splitlines()
    (phantom / LABELS).write_text("\n".join(line for line in lines if not line.endswith(",1")) + "\n")
    code, out, _ = cli("data", "check", phantom, "--no-decode")
    assert code == 3
    assert "both 0 and 1 are needed" in out


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: (d / LABELS).write_text("patientId,x\n"), "missing columns y, width, height, Target"),
        (lambda d: (d / LABELS).write_bytes(b"\xff\xfe\0"), "cannot be read as a table"),
        (lambda d: (d / LABELS).write_text(""), "found an empty file"),
    ],
)
def test_tables_that_cannot_be_used_are_faults_too(phantom: Path, cli, spoil, message: str) -> None:
    spoil(phantom)
    code, out, _ = cli("data", "check", phantom, "--format", "json")
    assert code == 3
    assert message in json.loads(out)["faults"][0]["first"][0]["detail"]


def test_no_folder(tmp_path: Path, cli) -> None:
    code, out, err = cli("data", "check", tmp_path / "none")
    assert (code, out) == (3, "")
    assert "no such folder" in err


def only_kinds(cli, folder: Path) -> tuple[int, dict[str, list[str]]]:
    code, out, _ = cli("data", "check", folder, "--format", "json")
    return code, {f["kind"]: [first["where"] for first in f["first"]] for f in json.loads(out)["faults"]}


def test_a_table_that_cannot_be_used_hides_no_other_fault(phantom: Path, cli) -> None:
    (phantom / CLASSES).write_text("patientId;class\nx;Normal\n")
    (phantom / SPLITS).write_text("patientId\nx\n")
    with (phantom / LABELS).open("a") as table:
        table.write("ghost,,,,,0\nshort,1,2\n")
    code, out, _ = cli("data", "check", phantom, "--format", "json")
    faults = json.loads(out)["faults"]
    said = {fault["kind"]: " ".join(str(first) for first in fault["first"]) for fault in faults}
    assert code == 3
    assert "separated by semicolons" in said["layout"]
    assert "missing column split" in said["layout"]
    assert "3 fields where the header has 6" in said["bad-value"]
    assert "ghost" in said["row-without-film"]


def test_the_same_picture_is_known_under_another_header(phantom: Path, cli) -> None:
    dataset = load_dataset(phantom)
    first, second = [film for film in dataset if not film.label and film.split == "train"][:2]
    copy = pydicom.dcmread(first.path)
    copy.PatientID = copy.SOPInstanceUID = copy.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    copy.save_as(second.path)
    assert only_kinds(cli, phantom) == (0, {"same-film-twice": [f"{first.film_id}, {second.film_id}"]})


def test_films_in_folders_below_and_under_one_id(phantom: Path, cli) -> None:
    films = sorted((phantom / IMAGES).iterdir())
    (phantom / IMAGES / "b" / "c").mkdir(parents=True)
    films[0].rename(phantom / IMAGES / "b" / "c" / films[0].with_suffix(".DCM").name)
    (phantom / IMAGES / "b" / "round").symlink_to(phantom / IMAGES, target_is_directory=True)
    assert only_kinds(cli, phantom) == (0, {})
    (phantom / IMAGES / "b" / films[1].name).write_bytes(films[1].read_bytes())
    assert only_kinds(cli, phantom) == (3, {"two-films-of-one-id": [films[1].stem]})


def test_words_and_holes_among_the_splits(phantom: Path, cli) -> None:
    lines = [line.split(",") for line in (phantom / SPLITS).read_text().splitlines()]
    for line in lines[1:]:
        line[2] = "train " if line[2] == "train" else "holdout"
    (phantom / SPLITS).write_text("\r\n".join(map(",".join, lines)) + "\r\n", encoding="utf-8-sig")
    code, kinds = only_kinds(cli, phantom)
    assert (code, set(kinds)) == (0, {"unknown-split", "empty-split"})
    assert kinds["empty-split"] == ["val"]


def test_the_same_box_written_otherwise_counts_once(phantom: Path, cli) -> None:
    before = {film.film_id: film.boxes_xyxy for film in load_dataset(phantom)}
    rows = (phantom / LABELS).read_text().splitlines()
    name, *cells, target = next(row for row in rows if row.endswith(",1")).split(",")
    rows.append(",".join([f" {name} ", *(f"{float(cell):.3f}" for cell in cells), target]))
    rows = [f"{row[: row.index(',')]},0,0,0,0,0" if row.endswith(",,,,,0") else row for row in rows]
    (phantom / LABELS).write_text("\n".join(rows) + "\n")
    code, kinds = only_kinds(cli, phantom)
    assert (code, set(kinds)) == (0, {"duplicate-row"})
    assert {film.film_id: film.boxes_xyxy for film in load_dataset(phantom)} == before


def test_a_table_of_nothing_and_a_folder_of_nothing_are_named(phantom: Path, cli) -> None:
    rows = (phantom / LABELS).read_text().splitlines()
    (phantom / LABELS).write_text(rows[0] + "\n")
    code, kinds = only_kinds(cli, phantom)
    assert (code, "layout" in kinds) == (3, True)
    (phantom / LABELS).write_text("\n".join([*rows, "bad,left,1,1,1,1"]) + "\n")
    for film in (phantom / IMAGES).iterdir():
        film.unlink()
    code, kinds = only_kinds(cli, phantom)
    assert (code, kinds["layout"], len(kinds["bad-value"])) == (3, [IMAGES], 1)
    code, _, err = cli("train", "--data", phantom, "--out", phantom / "run")
    assert code == 3
    assert f"no films in {IMAGES}" in err
