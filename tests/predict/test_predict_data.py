"""Real films: every RSNA film of the folder is answered, and their DICOM outputs pass dciodvfy."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from edge_pneumo.edge_runtime.outputs import SUFFIXES, write_output
from edge_pneumo.edge_runtime.predict import Detector

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif("EDGE_PNEUMO_DATA" not in os.environ, reason="EDGE_PNEUMO_DATA names no folder of real films"),
]


def rsna() -> Path:
    return Path(os.environ["EDGE_PNEUMO_DATA"]) / "rsna-mini" / "stage_2_train_images"


def test_every_film_of_the_folder_is_answered_in_order(cli, model: str) -> None:
    _, out, _ = cli("predict", rsna(), "--model", model, "--format", "jsonl", "--jobs", 2)
    found = [json.loads(line) for line in out.splitlines()]
    assert [Path(f["file"]).name for f in found] == sorted(p.name for p in rsna().iterdir())
    assert sum(f["status"] == "refused" for f in found) < 0.01 * len(found)


def test_a_film_gets_the_same_answer_as_jpeg_and_with_all_its_pixels() -> None:
    """The route must not matter: JPEG is decoded at a lower scale, an array is averaged down."""
    import pydicom

    moved = []
    with Detector.open("default") as detector:
        for film in sorted(rsna().iterdir())[:110]:
            routes = detector.predict(film), detector.predict(pydicom.dcmread(film).pixel_array, force=True)
            if all(route.ok for route in routes):
                moved.append(routes[1].probability - routes[0].probability)
    assert len(moved) > 100
    on_average = sum(map(abs, moved)) / len(moved)
    print(f"probability moved by {on_average:.4f} on average, {sum(moved) / len(moved):+.4f} all told")
    assert on_average < 0.02
    assert abs(sum(moved) / len(moved)) < 0.005


@pytest.mark.parametrize("kind", ["sr", "gsps", "sc"])
def test_dicom_outputs_of_three_films_pass_dciodvfy(model: str, kind: str, tmp_path: Path) -> None:
    pytest.importorskip("highdicom", reason="DICOM outputs need the extra `dicom`")
    judge = shutil.which("dciodvfy")
    if judge is None:
        pytest.skip("dciodvfy is not installed (apt-get install dicom3tools): DICOM outputs are NOT verified here")
    with Detector.open(model) as detector:
        for film in sorted(rsna().iterdir())[:3]:
            path = tmp_path / f"{film.stem}{SUFFIXES[kind]}"
            write_output(kind, path, film, detector.examine(film))
            judged = subprocess.run([judge, "-new", path], capture_output=True, text=True, check=False)
            assert [line for line in judged.stderr.splitlines() if line.startswith(("Error", "Abort"))] == []
