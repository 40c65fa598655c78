"""Every example of docs/python-api.md runs as it stands."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from predict_films import MODEL, dicom_chest

from edge_pneumo.edge_runtime import bundle

PAGE = Path(__file__).resolve().parents[2] / "docs" / "python-api.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_example(
    example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bundle, "default_model_path", lambda: Path(MODEL))
    shutil.copy(MODEL, "model.tflite")
    (tmp_path / "films").mkdir()
    for seed in range(2):
        (tmp_path / "films" / f"{seed}.dcm").write_bytes(dicom_chest(seed))
    (tmp_path / "film.dcm").write_bytes(dicom_chest(3))
    exec(compile(example, str(PAGE), "exec"), {})
    assert capsys.readouterr().out.strip()


def test_the_page_has_examples() -> None:
    assert len(EXAMPLES) >= 5
