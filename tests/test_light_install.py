"""What a Raspberry Pi must not carry: each runtime module, each `--help` and `predict` in a process of its own import
nothing outside an allow-list, and above all no TensorFlow.
"""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import edge_pneumo.edge_runtime
from edge_pneumo import cli

MODEL = Path(__file__).parent / "data" / "tiny.tflite"
# The base install (setup.cfg) and what those packages bring; everything else beside the standard library is a leak.
ALLOWED = {"numpy", "PIL", "pydicom", "click", "ai_edge_litert", "edge_pneumo"}
# LiteRT's import tries these and does without; its wheels depend on them all the same.
BROUGHT_BY_LITERT = {"flatbuffers", "tqdm", "typing_extensions", "protobuf", "google", "backports", "ml_dtypes"}
HEAVY = {"tensorflow", "tf_keras", "keras", "pandas", "scipy", "sklearn", "matplotlib", "highdicom", "jax", "torch"}

MODULES = sorted(
    m.name
    for m in pkgutil.walk_packages(edge_pneumo.edge_runtime.__path__, "edge_pneumo.edge_runtime.")
    if not m.ispkg and ".station" not in m.name
)


def loaded(script: str) -> set[str]:
    """Top-level modules that a fresh interpreter has after running `script`, those of its own start taken away."""
    whole = (
        "import sys\nbefore = set(sys.modules)\n"
        f"{script}\n"
        "import json\n"
        "print(json.dumps(sorted({m.partition('.')[0] for m in set(sys.modules) - before})))"
    )
    done = subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    names = set(json.loads(done.stdout.splitlines()[-1]))
    return {n for n in names if n not in sys.stdlib_module_names and not n.startswith(("_", "editable"))}


def call(*args: str) -> str:
    return f"from edge_pneumo.cli import main\ntry:\n    main({list(args)!r})\nexcept SystemExit:\n    pass"


def check(names: set[str]) -> None:
    assert not names & HEAVY
    assert names - BROUGHT_BY_LITERT <= ALLOWED


def test_every_runtime_module() -> None:
    """All in one process for speed: what one imports, the others are answerable for too."""
    assert len(MODULES) > 20
    check(loaded("import importlib\n" + "\n".join(f"importlib.import_module({name!r})" for name in MODULES)))


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_of_every_command(name: str) -> None:
    """And of the commands below it: `benchmark run --help` and the like."""
    script = f"""
import click
from edge_pneumo.cli import group, main

def ask(command, words):
    try:
        main([*words, "--help"])
    except SystemExit as end:
        assert not end.code, (words, end.code)
    if isinstance(command, click.Group):
        context = click.Context(command)
        for below in command.list_commands(context):
            ask(command.get_command(context, below), [*words, below])

ask(group.get_command(click.Context(group), {name!r}), [{name!r}])"""
    check(loaded(script))


@pytest.mark.parametrize("name", ["predict", "inspect", "doctor"])
def test_help_of_the_clinics_commands_imports_no_numpy(name: str) -> None:
    """Half a second on a Raspberry Pi."""
    assert loaded(call(name, "--help")) <= {"click", "edge_pneumo"}


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_predict(jobs: str, tmp_path: Path) -> None:
    from PIL import Image

    Image.linear_gradient("L").save(tmp_path / "film.png")
    names = loaded(call("predict", str(tmp_path), "--model", str(MODEL), "--force", "--jobs", jobs))
    check(names)
    assert {"numpy", "edge_pneumo"} <= names
    assert "pydicom" not in names, "no DICOM film, no DICOM library"


def test_predict_of_one_film_imports_no_process_machinery(tmp_path: Path) -> None:
    """A single film must not pay for the pool, nor for formats it does not use."""
    from PIL import Image

    Image.linear_gradient("L").save(tmp_path / "film.png")
    script = call("predict", str(tmp_path / "film.png"), "--model", str(MODEL), "--force")
    script += (
        "\nfor name in ('multiprocessing', 'concurrent.futures', 'asyncio', 'pydicom', 'edge_pneumo.edge_runtime.pool',"
        " 'edge_pneumo.edge_runtime.resume', 'edge_pneumo.edge_runtime.outputs.overlay'):\n"
        "    assert name not in sys.modules, name"
    )
    loaded(script)


@pytest.mark.parametrize("module", ["edge_pneumo.benchmarks", "edge_pneumo.train", "edge_pneumo.quantize"])
def test_the_runtime_knows_no_other_room(module: str) -> None:
    script = "import importlib\n" + "\n".join(f"importlib.import_module({name!r})" for name in MODULES)
    script += f"\nassert not [m for m in sys.modules if m.startswith({module!r})]"
    loaded(script)
