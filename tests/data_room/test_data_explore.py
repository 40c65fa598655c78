"""The exploratory report: figures worked out by hand, the reference's counts, and a page that stands alone."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
from sklearn.metrics import roc_auc_score

from edge_pneumo.train.data.explore import Subject, explore
from edge_pneumo.train.data.index import load_dataset
from edge_pneumo.train.data.kaggle import CLASSES, LABELS

AGE_GROUPS = {
    "0-10": 515, "10-20": 1688, "20-30": 3704, "30-40": 4551, "40-50": 5671, "50-60": 7446, "60-70": 4730,
    "70-80": 1637, "80-90": 275, "90-100": 5, "140-150": 2, "150-160": 3,
}  # fmt: skip

VOID = {"meta", "br", "hr", "img", "image", "rect", "line", "polyline", "polygon"}


class Page(HTMLParser):
    """Collects what a page would load, and tags that are never closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def test_figures_of_three_films() -> None:
    figures = explore(
        [
            Subject(2, 1, [(0, 0, 512, 256), (512, 512, 1024, 1024)], "Lung Opacity", "M", 10.0, "AP"),
            Subject(1, 0, [], "Normal", "F", 11.0, "PA"),
            Subject(1, 0, [], "Normal", "M", 150.0, "AP"),
        ],
        "three",
    )
    assert (figures["rows"], figures["patients"], figures["duplicates"]) == (4, 3, 1)
    assert figures["rows_per_patient"] == {"1": 2, "2": 1}
    assert figures["boxes_per_patient"] == {"0": 2, "2": 1}
    assert figures["classes"] == {
        "rows": {"Lung Opacity": 2, "Normal": 2},
        "patients": {"Normal": 2, "Lung Opacity": 1},
    }
    assert figures["target"]["rows"] == {"1": 2, "0": 2}
    assert figures["male_percent_of_rows"] == 75.0
    assert figures["age_groups"] == {"0-10": 2, "10-20": 1, "140-150": 1}
    assert figures["age"]["over_100"] == [150.0]
    assert figures["auc_of_view_alone"] == roc_auc_score([1, 0, 0], [1, 0, 1])
    assert figures["by_age_group"]["sex"]["0-10"] == {"M": 2}
    boxes = figures["boxes"]
    assert boxes["n"] == 2
    assert boxes["centres"][4][8] == 1  # centre (256, 128) of 1024, on a grid of 32
    assert boxes["centres"][24][24] == 1
    assert boxes["width"]["p50"] == 0.5


def test_a_folder_of_tables_alone_is_explored_too(phantom_once: Path, tmp_path: Path, cli) -> None:
    code, out, _ = cli("data", "eda", phantom_once, "--format", "json")
    of_films = json.loads(out)
    for name in (LABELS, CLASSES):
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress((phantom_once / name).read_bytes()))
    code, out, _ = cli("data", "eda", tmp_path, "--format", "json")
    of_tables = json.loads(out)
    assert code == 0
    assert {k: of_tables[k] for k in ("rows", "target", "classes")} == {
        k: of_films[k] for k in ("rows", "target", "classes")
    }
    assert of_tables["sex"] == {"rows": {}, "patients": {}}
    (tmp_path / "dicom_headers.csv").write_text(
        "PatientID,PatientSex,PatientAge,ViewPosition\n"
        + "".join(
            f"{film.film_id},{film.sex},{film.facts.age_text},{film.view}\n" for film in load_dataset(phantom_once)
        )
    )
    code, out, _ = cli("data", "eda", tmp_path, "--format", "json")
    of_tables = json.loads(out)
    assert {k: v for k, v in of_tables.items() if k not in ("source", "boxes")} == {
        k: v for k, v in of_films.items() if k not in ("source", "boxes")
    }


def test_films_and_their_tables_give_the_same_figures(phantom_once: Path, tmp_path: Path, cli) -> None:
    code, out, _ = cli("data", "eda", phantom_once, "--format", "json")
    of_films = json.loads(out)
    assert code == 0
    packed = tmp_path / "labels.csv.gz"
    packed.write_bytes(gzip.compress((phantom_once / LABELS).read_bytes()))
    headers = tmp_path / "headers.csv"
    _write_headers(phantom_once, headers)
    code, out, _ = cli(
        "data", "eda", "--labels", packed, "--classes", phantom_once / CLASSES, "--headers", headers, "--format", "json"
    )
    of_tables = json.loads(out)
    assert code == 0
    for figures in (of_films, of_tables):
        figures.pop("source"), figures.pop("boxes")  # boxes: tables do not know that these films are small
    assert of_films == of_tables


def _write_headers(folder: Path, table: Path) -> None:
    from edge_pneumo.train.data.index import load_dataset

    rows = [f"{film.film_id},{film.sex},{film.facts.age_text},{film.view}\n" for film in load_dataset(folder)]
    table.write_text("PatientID,PatientSex,PatientAge,ViewPosition\n" + "".join(rows))


def test_page_stands_alone_and_shows_films_with_boxes(phantom_once: Path, tmp_path: Path, cli) -> None:
    code, out, err = cli("data", "eda", phantom_once, "-o", tmp_path / "eda.html")
    page = (tmp_path / "eda.html").read_text()
    parsed = Page(page)
    assert code == 0
    assert "duplicates" in out
    assert "wrote" in err
    assert parsed.open == []
    assert len(parsed.loads) >= 12
    assert all(link.startswith("data:image/jpeg;base64,") for link in parsed.loads)
    assert "prefers-color-scheme: dark" in page
    assert "<script" not in page
    assert page.count("class=outline") > 3
    assert str(phantom_once) not in page


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        ([], 2, "give DIR, or --labels"),
        (["d", "--labels", "x"], 2, "not both"),
        (["d", "--classes", "x"], 2, "go with --labels"),
        (["--labels", "none.csv"], 3, "no such table"),
        (["nowhere"], 3, "no such folder"),
    ],
)
def test_wrong_use(args: list[str], code: int, message: str, cli) -> None:
    found, out, err = cli("data", "eda", *args)
    assert (found, out) == (code, "")
    assert message in err


def test_tables_with_faults(tmp_path: Path, cli) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("patientId,x,y,width,height,Target\na,,,,,1\n")
    code, _, err = cli("data", "eda", "--labels", labels)
    assert code == 3
    assert "line 2 (a): Target 1 needs" in err
    labels.write_text("patientId,x,y,width,height,Target\n")
    code, _, err = cli("data", "eda", "--labels", labels)
    assert code == 3
    assert "no labelled films" in err
    labels.write_text("patientId,x,y,width,height,Target\na,,,,,0\nb,1,1,5,5,1\nb,1,1,5,5,1\n")
    code, out, _ = cli("data", "eda", "--labels", labels, "-o", tmp_path / "few.html", "--format", "json")
    assert code == 0
    assert (json.loads(out)["rows"], json.loads(out)["duplicates"]) == (3, 1)
    Page((tmp_path / "few.html").read_text())


def test_the_data_commands_are_light() -> None:
    code = (
        "import sys, edge_pneumo.commands.data, edge_pneumo.train.data.check, edge_pneumo.train.data.explore_page, "
        "edge_pneumo.train.data.phantom\n"
        "heavy = {'tensorflow', 'tf_keras', 'sklearn', 'pandas', 'matplotlib', 'jinja2', 'scipy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.data
def test_reference_counts_on_the_whole_challenge(tmp_path: Path, cli) -> None:
    if "EDGE_PNEUMO_DATA" not in os.environ:
        pytest.skip("EDGE_PNEUMO_DATA is not set")
    tables = Path(os.environ["EDGE_PNEUMO_DATA"]) / "rsna-labels"
    began = time.perf_counter()
    code, out, _ = cli(
        "data", "eda", "--labels", tables / f"{LABELS}.gz", "--classes", tables / f"{CLASSES}.gz",
        "--headers", tables / "dicom_headers.csv.gz", "-o", tmp_path / "eda.html", "--format", "json",
    )  # fmt: skip
    assert time.perf_counter() - began < 5
    figures = json.loads(out)
    assert code == 0
    assert (figures["rows"], figures["patients"], figures["duplicates"]) == (30_227, 26_684, 3_543)
    assert figures["classes"]["rows"] == {
        "No Lung Opacity / Not Normal": 11_821,
        "Lung Opacity": 9_555,
        "Normal": 8_851,
    }
    assert figures["classes"]["patients"] == {
        "No Lung Opacity / Not Normal": 11_821,
        "Normal": 8_851,
        "Lung Opacity": 6_012,
    }
    assert figures["rows_per_patient"] == {"1": 23_286, "2": 3_266, "3": 119, "4": 13}
    assert figures["target"]["patients"] == {"0": 20_672, "1": 6_012}
    assert figures["male_percent_of_rows"] == 56.96
    assert figures["age_groups"] == AGE_GROUPS
    assert figures["age"]["over_100"] == [148.0, 150.0, 151.0, 153.0, 155.0]
