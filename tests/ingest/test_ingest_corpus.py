"""Real DICOM files of every kind: each is a film or a refusal whose reason its catalogue bears out."""

from __future__ import annotations

import csv
import io
import os
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest

from edge_pneumo.edge_runtime import codecs, dicom, dicom_header, limits
from edge_pneumo.edge_runtime.radiograph import read_radiograph
from edge_pneumo.errors import FilmRefused

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def catalogue() -> list[dict[str, str]]:
    root = os.environ.get("EDGE_PNEUMO_DATA")
    if not root:
        pytest.skip("EDGE_PNEUMO_DATA is not set")
    folder = Path(root, "dicom-corpus")
    rows = list(csv.DictReader(io.StringIO((folder / "catalogue.csv").read_text())))
    return [row | {"path": str(folder / "files" / row["file"])} for row in rows]


def expected(row: dict[str, str]) -> set[str]:
    """The answers that a catalogue entry allows."""
    if row["ts"] == "(none)" and not row["modality"]:
        return {"not-dicom"}
    if row["pix"] == "False":
        return {"no-pixels", "truncated", "not-a-radiograph"}
    if row["modality"] not in ("", "CR", "DX", "OT"):
        return {"not-a-radiograph"}
    if row["frames"] not in ("", "1"):
        return {"multi-frame"}
    if row["body"] not in ("", "CHEST"):
        return {"not-a-chest"}
    if min(int(row["rows"]), int(row["cols"])) < limits.MIN_SIDE_PX:
        return {"bad-dimensions"}
    return {"film"} if row["body"] == "CHEST" else {"film", "not-a-radiograph", "not-a-chest", "blank"}


def test_every_file_is_answered_for_the_right_reason(catalogue):
    wrong = []
    for row in catalogue:
        try:
            read_radiograph(row["path"])
            answer = "film"
        except FilmRefused as refusal:
            answer = refusal.reason
        if answer not in expected(row):
            wrong.append((row["file"], answer, expected(row)))
    assert wrong == []


def test_stored_values_are_pydicoms(catalogue):
    """Wherever pydicom decodes a grey picture, so do we, to the same values."""
    compared = 0
    for row in catalogue:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                theirs = pydicom.dcmread(row["path"], force=True).pixel_array
            except (RuntimeError, AttributeError, NotImplementedError, TypeError, ValueError):
                continue
        header = dicom_header.parse(Path(row["path"]).read_bytes(), row["file"])
        if header.pixels is None or not row["photo"].startswith("MONO"):
            continue
        layout = dicom.read_layout(header, row["file"])
        ours = codecs.decode(header, layout, None, limits.Deadline.start(row["file"])).grey
        frames = int(row["frames"] or 1)
        np.testing.assert_array_equal(ours, theirs[0] if frames > 1 else theirs, err_msg=row["file"])
        compared += 1
    assert compared > 50
