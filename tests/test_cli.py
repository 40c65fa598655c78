"""The command line as a whole: every command's help, the lazy group, errors to exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from edge_pneumo import __version__, cli, errors

HEAVY = ("tensorflow", "pandas", "scipy", "sklearn", "matplotlib", "highdicom", "numpy")


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        cli.main(list(args))
    captured = capsys.readouterr()
    return int(end.value.code or 0), captured.out, captured.err


def subcommands(command: click.Command, name: tuple[str, ...]) -> list[tuple[str, ...]]:
    """A command's words and those of all below it."""
    found = [name]
    if isinstance(command, click.Group):
        context = click.Context(command)
        for below in command.list_commands(context):
            found += subcommands(command.get_command(context, below) or click.Command(below), (*name, below))
    return found


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_of_every_command_teaches(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = cli.group.get_command(click.Context(cli.group), name)
    assert command is not None
    for words in subcommands(command, (name,)):
        code, out, err = run(capsys, *words, "--help")
        assert (code, err) == (0, "")
        assert out.startswith(f"Usage: edge-pneumo {' '.join(words)}")
        body = [line for line in out.splitlines()[1:] if line.strip()]
        assert body[0].startswith("  ") and len(body[0]) > 20, f"{words} does not say what it does"


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_names_every_command_and_what_this_is_not(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, flag)
    assert code == 0
    for name, (_, line) in cli.COMMANDS.items():
        assert f"{name}  " in out
        assert line.split()[0] in out
    assert "not a medical device" in " ".join(out.split())


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--version") == (0, f"edge-pneumo, version {__version__}\n", "")


def test_the_group_imports_a_command_only_when_it_is_called() -> None:
    """`--help` and a wrong name import no command module, and none of the libraries behind them."""
    script = (
        "import sys\n"
        "from edge_pneumo.cli import main\n"
        "for args in (['--help'], ['nonsense'], ['--version']):\n"
        "    try: main(args)\n"
        "    except SystemExit: pass\n"
        "print('LOADED', *[m for m in sys.modules if m.startswith('edge_pneumo.')],"
        f" *[m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert sorted(done.stdout.splitlines()[-1].split()) == ["LOADED", "edge_pneumo.cli", "edge_pneumo.errors"]


@pytest.mark.parametrize("args", [["nonsense"], ["predict"], ["predict", "--no-such-option", "x"], []])
def test_wrong_usage_is_2_and_says_where_help_is(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, *args)
    assert code == 2
    assert "--help" in err or "Usage: edge-pneumo" in err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.UsageFault("an option is wrong"), 2),
        (errors.DataError("a folder is missing"), 3),
        (errors.FilmRefused("blank", "a film is blank"), 3),
        (errors.WriteFailed("a disk is full"), 3),
        (errors.MissingExtra("writing SR", "highdicom", "dicom"), 4),
        (errors.ModelFileError("a model is cut short"), 5),
        (errors.GateFailed("accuracy fell"), 5),
        (OSError(28, "No space left on device", "/some/file"), 3),
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(), 141),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_become_exit_codes_and_one_line(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    def fails() -> None:
        raise error

    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: fails)
    monkeypatch.setattr(cli.os, "dup2", lambda *_: None)  # the tests go on needing their stdout
    with pytest.raises(SystemExit) as end:
        cli.main(["predict"])
    out, err = capfd.readouterr()
    assert (end.value.code, out) == (code, "")
    said = [line for line in err.splitlines() if line]
    if code == 141:
        assert said == []
    else:
        assert len(said) == 1
        assert said[0].startswith("edge-pneumo: ")
        assert str(error.args[-1] if isinstance(error, OSError) else error) in said[0]


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_not_an_error(closed: str, tmp_path: Path) -> None:
    from PIL import Image

    Image.linear_gradient("L").save(tmp_path / "film.png")
    model = Path(__file__).parent / "data" / "tiny.tflite"
    for words in (f"predict '{tmp_path}' --model '{model}' --force --format jsonl", f"inspect '{model}'"):
        command = f"'{sys.executable}' -m edge_pneumo {words} {closed}"
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


def test_a_missing_extra_names_the_pip_command() -> None:
    assert "pip install 'edge-pneumo[dicom]'" in str(errors.MissingExtra("writing SR", "highdicom", "dicom"))


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def fails() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: fails)
    with pytest.raises(ZeroDivisionError):
        cli.main(["predict"])


def test_refusal_reasons_are_a_closed_list() -> None:
    with pytest.raises(ValueError, match="unknown refusal reason 'because'"):
        errors.FilmRefused("because", "message")
