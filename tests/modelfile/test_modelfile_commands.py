"""`inspect`, `doctor` and `sign` as a user calls them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from edge_pneumo.cli import main
from edge_pneumo.edge_runtime import doctor
from edge_pneumo.edge_runtime.bundle import Bundle, open_bundle
from edge_pneumo.quantize.card_folder import write_card

pytest.importorskip("ai_edge_litert.interpreter")


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command line: (exit code, stdout, stderr)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return run


CONTRACT = ["name", "version", "sha256", "verified", "input", "outputs", "labels", "operating_points"]
CONTRACT += ["training_data", "metrics", "licence", "intended_use", "tensors"]


def test_inspect_json(call: Callable[..., Any], tiny: Bundle, tiny_path: Path) -> None:
    code, out, err = call("inspect", tiny_path, "--format", "json")
    report = json.loads(out)
    assert (code, err, report["schema"], report["verified"]) == (0, "", 1, True)
    assert set(CONTRACT) <= set(report)
    assert report["sha256"] == tiny.sha256
    assert report["bytes"] == tiny_path.stat().st_size
    assert report["integer_only"] is True and not {"float32", "float16"} & set(report["tensors"])
    assert report["golden"]["vectors"] == 4


def test_inspect_table(call: Callable[..., Any], tiny: Bundle, tiny_path: Path) -> None:
    code, out, _ = call("inspect", tiny_path)
    assert code == 0
    assert tiny.sha256 in out and "no float tensor anywhere" in out and "threshold sensitive" in out
    assert call("inspect", tiny_path, "--card")[1].startswith("# tiny-test-model")


def test_the_card_as_a_folder(call: Callable[..., Any], tiny_path: Path, tmp_path: Path) -> None:
    """The Markdown as printed; a model never measured on labelled films has no plot."""
    code, out, err = call("inspect", tiny_path, "--card-to", tmp_path / "a" / "card")
    assert (code, out) == (0, "") and "MODEL_CARD.md" in err
    assert [path.name for path in (tmp_path / "a" / "card").iterdir()] == ["MODEL_CARD.md"]
    assert (tmp_path / "a" / "card" / "MODEL_CARD.md").read_text() + "\n" == call("inspect", tiny_path, "--card")[1]
    (tmp_path / "file").touch()
    assert call("inspect", tiny_path, "--card-to", tmp_path / "file")[0] == 2


def test_the_card_shows_its_calibration_plot(call: Callable[..., Any], tmp_path: Path) -> None:
    """Each bin with its number of films; and the card in docs/results/ is the embedded model's."""
    pytest.importorskip("matplotlib")
    assert call("inspect", "default", "--card-to", tmp_path)[0] == 0
    card, plot = (tmp_path / "MODEL_CARD.md").read_text(), (tmp_path / "calibration.svg").read_text()
    assert "(calibration.svg)" in card
    bins = open_bundle("default").metadata["metrics"]["reliability"]
    written = [text.text for text in ElementTree.fromstring(plot).iter("{http://www.w3.org/2000/svg}text")]
    assert len(bins) > 3 and {str(row["n"]) for row in bins if row["n"]} <= set(written)
    assert "var(" not in plot  # no page gives it colours
    kept = Path(__file__).parents[2] / "docs/results/card/MODEL_CARD.md"
    assert card == kept.read_text()


def test_the_card_as_a_folder_without_matplotlib(
    call: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_pneumo.quantize.card_folder.find_spec", lambda name: None)
    code, _, err = call("inspect", "default", "--card-to", tmp_path)
    assert code == 4 and "pip install 'edge-pneumo[bench]'" in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("metrics", [None, [], {"reliability": 3}, {"reliability": [{"n": 4}, None, {"n": 0}]}])
def test_a_card_without_what_can_be_drawn_has_no_plot(tmp_path: Path, metrics: Any) -> None:
    assert write_card(tmp_path, "# A\n\n## Calibration\nno\n", {"metrics": metrics}) == [tmp_path / "MODEL_CARD.md"]
    assert (tmp_path / "MODEL_CARD.md").read_text() == "# A\n\n## Calibration\nno\n"


def test_inspect_of_a_damaged_file(call: Callable[..., Any], tiny_path: Path, tmp_path: Path) -> None:
    damaged = bytearray(tiny_path.read_bytes())
    damaged[1000] ^= 4
    (tmp_path / "m.tflite").write_bytes(damaged)
    code, out, err = call("inspect", tmp_path / "m.tflite", "--format", "json")
    report = json.loads(out)
    assert (code, report["verified"], report["name"]) == (5, False, None)
    assert "the network was changed" in report["problem"] and report["problem"] in err
    code, out, _ = call("inspect", tmp_path / "m.tflite")
    assert code == 5 and "NO: " in out


def test_inspect_of_nothing_and_of_a_folder(call: Callable[..., Any], tmp_path: Path) -> None:
    code, out, err = call("inspect", tmp_path / "none.tflite")
    assert (code, out) == (2, "") and "no such model file" in err
    assert call("inspect", tmp_path)[0] == 5


def test_doctor_json(call: Callable[..., Any], tiny_path: Path) -> None:
    code, out, _ = call("doctor", "--model", tiny_path, "--format", "json")
    report = json.loads(out)
    assert (code, report["schema"], report["healthy"]) == (0, 1, True)
    assert {"python", "numpy", "runtime", "codecs", "cores", "memory", "disk", "model", "backend", "golden"} <= {
        check["name"] for check in report["checks"]
    }
    assert report["golden"]["bit_exact"] is True and report["golden"]["why"] is None
    assert all(check["fix"] for check in report["checks"] if check["status"] != "ok")


def test_doctor_names_the_reason_for_other_bits(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """XNNPACK off: what a system without /sys mounted gives."""
    real = doctor.open_engine
    monkeypatch.setattr(doctor, "open_engine", lambda *a, **k: real(*a, **{**k, "kernels": "builtin"}))
    report = doctor.examine(tiny_path)
    golden = next(check for check in report["checks"] if check["name"] == "golden")
    assert "XNNPACK is not in use" in golden["found"]
    assert golden["status"] == "fail" and not report["healthy"]  # this random network is chaotic: far off


def test_doctor_of_a_damaged_model(call: Callable[..., Any], tiny_path: Path, tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(tiny_path.read_bytes()[:-50])
    code, out, _ = call("doctor", "--model", tmp_path / "m.tflite")
    assert code == 5
    assert "FAIL  model" in out and "without our trailer" in out and "-> copy the model file again" in out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("flags\t\t: fpu sse2 avx2 fma avx512f avx512_vnni", "VNNI: int8 is faster"),
        ("flags\t\t: fpu sse2 avx2 avx_vnni", "VNNI: int8 is faster"),
        ("flags\t\t: fpu sse2 avx2 fma", "no VNNI: int8 saves bytes"),
        ("Features\t: fp asimd evtstrm aes asimdhp asimddp", "dot products: int8 is faster"),
        ("Features\t: fp asimd evtstrm crc32 cpuid", "no dot products"),
        ("processor : 0", "unknown processor"),
        (None, "unknown on this system"),
    ],
)
def test_doctor_says_what_int8_is_worth_here(tmp_path: Path, flags: str | None, said: str) -> None:
    if flags is not None:
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{flags}\n")
    check = doctor._int8(tmp_path / "cpuinfo")
    assert check.status == "ok" and check.found.startswith(said)


def test_doctor_without_golden_vectors(tiny: Bundle, tmp_path: Path) -> None:
    from edge_pneumo.edge_runtime import trailer
    from edge_pneumo.edge_runtime.bundle import write_parts

    members = {name: data for name, data in tiny.members.items() if name != trailer.GOLDEN}
    members[trailer.MANIFEST] = trailer.manifest(tiny.tflite, members)
    write_parts(tmp_path / "m.tflite", tiny.tflite, members)
    checks = {check["name"]: check for check in doctor.examine(tmp_path / "m.tflite")["checks"]}
    assert checks["golden"]["status"] == "warn" and "carries no golden vectors" in checks["golden"]["found"]


def test_doctor_with_too_many_threads_and_no_disk(monkeypatch: pytest.MonkeyPatch, tiny_path: Path) -> None:
    monkeypatch.setattr(doctor, "MINIMUM_FREE_MB", {"memory": 1 << 40, "disk": 1 << 40})
    checks = {check["name"]: check for check in doctor.examine(tiny_path, threads=999)["checks"]}
    for name, fix in (("cores", "ask for fewer"), ("memory", "--jobs 1"), ("disk", "free space")):
        assert checks[name]["status"] == "warn" and fix in checks[name]["fix"]


def test_sign_and_require(call: Callable[..., Any], tiny_path: Path, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    key, signed = tmp_path / "k.pem", tmp_path / "signed.tflite"
    assert call("sign", "--new-key", key)[0] == 0
    assert call("sign", tiny_path, "--key", key, "-o", signed)[0] == 0
    code, out, _ = call("inspect", signed, "--require-signature", f"{key}.pub", "--format", "json")
    report = json.loads(out)
    assert (code, report["signature"]["checked"]) == (0, True)
    assert "NOT checked" in call("inspect", signed)[1]
    assert call("inspect", tiny_path, "--require-signature", f"{key}.pub")[0] == 5
    assert call("inspect", signed, "--require-signature", tmp_path / "none.pub")[0] == 2
    assert call("doctor", "--model", signed, "--require-signature", f"{key}.pub")[0] == 0


@pytest.mark.parametrize("arguments", [[], ["m.tflite"], ["m.tflite", "--new-key", "k"], ["default", "--key", "k"]])
def test_sign_used_wrongly(call: Callable[..., Any], arguments: list[str]) -> None:
    code, _, err = call("sign", *arguments)
    assert code == 2 and "Error" in err
