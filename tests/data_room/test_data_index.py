"""The Kaggle layout, as folder and as zip; what stops a data set from being used, and what does not."""

from __future__ import annotations

import gzip
import pickle
import zipfile
from pathlib import Path

import pytest

from edge_pneumo.errors import DataError
from edge_pneumo.train.data.headers import parse_age, parse_sex
from edge_pneumo.train.data.index import load_dataset
from edge_pneumo.train.data.kaggle import CLASSES, IMAGES, LABELS, SPLITS


def edit(table: Path, old: str, new: str) -> None:
    text = table.read_text()
    assert old in text
    table.write_text(text.replace(old, new, 1))


def first_box_row(folder: Path) -> str:
    return next(line for line in (folder / LABELS).read_text().splitlines() if line.endswith(",1"))


def test_folder_gives_every_film_with_its_facts(phantom_once: Path) -> None:
    dataset = load_dataset(phantom_once)
    assert len(dataset) == 20
    assert dataset.layout == "kaggle"
    assert dataset.warnings == ()
    for film in dataset:
        assert film.label == bool(film.boxes_xyxy) == (film.class_name == "Lung Opacity")
        assert film.view in ("AP", "PA")
        assert film.sex in ("M", "F")
        assert film.age_years is not None
        assert 0 < film.age_years < 100
        assert film.read()[128:132] == b"DICM"


@pytest.mark.parametrize("prefix", ["", "rsna-pneumonia/"])
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zip_is_the_same_data_set_as_the_folder(
    phantom_once: Path, tmp_path: Path, prefix: str, compression: int
) -> None:
    archive = tmp_path / "served.zip"
    with zipfile.ZipFile(archive, "w", compression) as out:
        for path in sorted(phantom_once.rglob("*")):
            if path.is_file():
                out.write(path, prefix + path.relative_to(phantom_once).as_posix())
    folder, zipped = load_dataset(phantom_once), load_dataset(archive)
    assert zipped.split_hash == folder.split_hash
    for a, b in zip(folder, zipped, strict=True):
        assert (a.film_id, a.boxes_xyxy, a.split, a.facts) == (b.film_id, b.boxes_xyxy, b.split, b.facts)
        assert a.read() == pickle.loads(pickle.dumps(b)).read()
    assert list(tmp_path.iterdir()) == [archive]  # nothing was unpacked


def test_tables_may_be_packed_and_films_zipped_beside_them(phantom: Path) -> None:
    before = load_dataset(phantom)
    (phantom / f"{LABELS}.gz").write_bytes(gzip.compress((phantom / LABELS).read_bytes()))
    (phantom / LABELS).unlink()
    with zipfile.ZipFile(phantom / f"{CLASSES}.zip", "w") as out:
        out.write(phantom / CLASSES, CLASSES)
    (phantom / CLASSES).unlink()
    with zipfile.ZipFile(phantom / f"{IMAGES}.zip", "w") as out:
        for path in sorted((phantom / IMAGES).iterdir()):
            out.write(path, path.name)
            path.unlink()
    (phantom / IMAGES).rmdir()
    assert [film.boxes_xyxy for film in load_dataset(phantom)] == [film.boxes_xyxy for film in before]


def test_without_splits_csv_splits_are_made_and_stay_the_same(phantom: Path) -> None:
    (phantom / SPLITS).unlink()
    one, two = load_dataset(phantom), load_dataset(phantom)
    assert one.split_sizes == {"train": 16, "val": 2, "test": 2}
    assert one.split_hash == two.split_hash


def test_whoever_asks_for_a_split_that_was_drawn_is_told(phantom: Path) -> None:
    brought = load_dataset(phantom)
    assert brought.split_warning("val") is None
    (phantom / SPLITS).unlink()
    drawn = load_dataset(phantom)
    assert "brings no splits: 'val' (2 films) was drawn" in (drawn.split_warning("val") or "")
    assert drawn.split_warning(None) is None and drawn.split_warning("all") is None
    with pytest.raises(DataError, match="drawn at random since it brings none"):
        drawn.split("dev")


def test_groups_may_be_left_out_of_splits_csv(phantom: Path) -> None:
    """Then every film stands for a patient of its own."""
    rows = [line.split(",") for line in (phantom / SPLITS).read_text().splitlines()]
    (phantom / SPLITS).write_text("".join(f"{row[0]},{row[2]}\n" for row in rows))
    films = load_dataset(phantom).films
    assert all(film.group == film.film_id for film in films)
    assert {film.film_id: film.split for film in films} == {row[0]: row[2] for row in rows[1:]}


def test_split_names_what_there_is_when_asked_for_another(phantom_once: Path) -> None:
    dataset = load_dataset(phantom_once)
    assert len(dataset.split("all")) == 20
    assert {film.split for film in load_dataset(phantom_once, split="val")} == {"val"}
    with pytest.raises(DataError, match=r"no films in split 'dev'. It has: test \(\d+\), train \(\d+\), val"):
        dataset.split("dev")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: (d / LABELS).unlink(), r"no stage_2_train_labels.csv .* beside stage_2_train_images"),
        (lambda d: (d / IMAGES).rename(d / "pictures"), r"no films in stage_2_train_images/"),
        (lambda d: edit(d / LABELS, "width", "breadth"), r"missing column width.*found patientId, x, y, breadth"),
        (lambda d: edit(d / CLASSES, "class", "kind"), r"stage_2_detailed_class_info.csv: missing column class"),
        (lambda d: edit(d / SPLITS, "split", "part"), r"splits.csv: missing column split"),
        (
            lambda d: edit(d / LABELS, first_box_row(d).split(",", 1)[1], "-40,10,50,50,1"),
            r"box-off-film: .*x=-40 y=10",
        ),
        (lambda d: edit(d / LABELS, first_box_row(d).split(",", 1)[1], "90,10,50,50,1"), r"on a film of 128 x 128"),
        (lambda d: edit(d / LABELS, first_box_row(d).split(",", 1)[1], "9,10,0,50,1"), r"empty-box: .*width=0"),
        (lambda d: edit(d / LABELS, first_box_row(d).split(",", 1)[1], ",,,,1"), r"target-without-box"),
        (lambda d: edit(d / LABELS, ",,,,,0", ",5,5,20,20,0"), r"box-without-target"),
        (lambda d: edit(d / LABELS, ",,,,,0", ",,,,,2"), r"bad-value: .*Target 0 or 1"),
        (lambda d: edit(d / LABELS, ",,,,,0", ",a,b,c,d,1"), r"bad-value: .*could not convert"),
        (lambda d: edit(d / LABELS, ",,,,,0", ",nan,1,inf,1,1"), r"bad-value: .*not a finite number"),
        (lambda d: edit(d / LABELS, ",,,,,0", ""), r"line \d+: 1 fields where the header has 6"),
        (lambda d: edit(d / CLASSES, ",Normal", ",Lung Opacity"), r"conflicting-class: .*with Target 0"),
    ],
)
def test_wrong_labels_stop_with_a_message_that_says_where(phantom: Path, spoil, message: str) -> None:
    spoil(phantom)
    with pytest.raises(DataError, match=message):
        load_dataset(phantom)


def test_missing_films_and_repeated_rows_are_survived_and_told(phantom: Path) -> None:
    films = sorted((phantom / IMAGES).iterdir())
    films[0].unlink()
    (phantom / IMAGES / "extra.dcm").write_bytes(films[1].read_bytes())
    with (phantom / LABELS).open("a") as table:
        table.write(first_box_row(phantom) + "\n")
    boxes = sum(len(film.boxes_xyxy) for film in load_dataset(phantom))
    dataset = load_dataset(phantom)
    assert len(dataset) == 19
    assert boxes == len({(f.film_id, b) for f in dataset for b in f.boxes_xyxy})
    told = " ".join(dataset.warnings)
    for kind in ("1 x row-without-film", "1 x film-without-row", "1 x duplicate-row"):
        assert kind in told


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p / "nowhere", r"nowhere: no such folder or file"),
        (lambda p: p, r"no data set found. Expected one of: stage_2_train_labels.csv .*Kaggle.*COCO.*YOLO"),
        (lambda p: Path(p / "x.txt").write_text("x") and p / "x.txt", r"expected a folder or a .zip, found a .txt"),
        (lambda p: Path(p / "x.zip").write_bytes(b"PK\3\4cut") and p / "x.zip", r"not a zip, or cut short"),
    ],
)
def test_what_is_no_data_set_is_named(tmp_path: Path, make, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_dataset(make(tmp_path))


@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("32", 32),
        ("032Y", 32),
        ("006M", 0.5),
        ("0", 0),
        ("155", 155),
        ("", None),
        ("abc", None),
        ("-5", None),
        ("12X", None),
    ],
)
def test_ages_in_every_spelling(text: str, years: float | None) -> None:
    assert parse_age(text) == years


@pytest.mark.parametrize(
    ("text", "sex"), [("M", "M"), ("female", "F"), (" m ", "M"), ("O", "O"), ("", None), ("?", None)]
)
def test_sexes_in_every_spelling(text: str, sex: str | None) -> None:
    assert parse_sex(text) == sex
