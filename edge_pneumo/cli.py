"""`edge-pneumo`: a lazy group. A command's module is imported only when that command is called.

stdout is data, stderr is progress and messages. Exit codes: 0 done, 2 usage, 3 some input refused, 4 an extra is
missing, 5 a verification failed, 1 a bug; 130, 141, 143 as shells count Ctrl-C, a closed pipe and SIGTERM. This file is
the one place that maps errors to them.
"""

from __future__ import annotations

import errno
import importlib
import os
import signal
import sys
import threading
from typing import Any

import click

from edge_pneumo import __version__
from edge_pneumo.errors import EdgePneumoError

# command -> (module:function, one line for --help); the line is here so that `edge-pneumo --help` imports nothing.
COMMANDS: dict[str, tuple[str, str]] = {
    "predict": ("edge_pneumo.commands.predict:predict", "Read films and print findings (probability and boxes)."),
    "inspect": ("edge_pneumo.commands.inspect:inspect", "Show what is in a model file, and verify it."),
    "doctor": ("edge_pneumo.commands.doctor:doctor", "Check this machine and say what to mend."),
    "demo": ("edge_pneumo.commands.demo:demo", "The whole path on made-up films, in minutes."),
    "data": ("edge_pneumo.commands.data:data", "Check, explore, split or make up data sets."),
    "train": ("edge_pneumo.commands.train:train", "Train the detector or one of the reference systems."),
    "quantize": ("edge_pneumo.commands.quantize:quantize", "Quantisation-aware training from a trained run."),
    "convert": ("edge_pneumo.commands.convert:convert", "Make a .tflite file, with proof that it is no worse."),
    "evaluate": ("edge_pneumo.commands.evaluate:evaluate", "Measure a model on labelled films."),
    "tune": ("edge_pneumo.commands.tune:tune", "Fit a model's thresholds to your own labelled films."),
    "benchmark": ("edge_pneumo.commands.benchmark:benchmark", "Measure speed, compare devices, write reports."),
    "sign": ("edge_pneumo.commands.sign:sign", "Sign a model file with an Ed25519 key."),
}


class Terminated(KeyboardInterrupt):
    """SIGTERM: like Ctrl-C, so that what was begun is put in order on the way out."""


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports one only when it is used."""

    def __init__(self, *args: Any, lazy: dict[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = lazy

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # The reader of our stdout went away (`| head`): not our error. Caught here, for click would end with 1; and
            # stdout now leads nowhere, so that closing it at exit cannot fail again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(141)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.lazy:
            return None
        module, _, attribute = self.lazy[cmd_name][0].partition(":")
        return getattr(importlib.import_module(module), attribute)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self.lazy.items()])


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Research and education only: not a medical device. `edge-pneumo COMMAND --help` teaches each command.",
)
@click.version_option(__version__, prog_name="edge-pneumo")
def group() -> None:
    """Pneumonia detection on chest radiographs for small computers: train, quantise, run, benchmark."""


def main(args: list[str] | None = None) -> None:
    """Run the command line; `args` defaults to `sys.argv[1:]`. Always ends with SystemExit."""
    _open_closed_streams()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
    try:
        code = group.main(args=args, prog_name="edge-pneumo", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt) as error:
        ended = isinstance(error, Terminated) or isinstance(error.__cause__, Terminated)  # click wraps it
        click.echo(f"edge-pneumo: {'terminated' if ended else 'interrupted'}", err=True)
        sys.exit(143 if ended else 130)
    except EdgePneumoError as error:
        click.echo(f"edge-pneumo: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EFBIG):
            from edge_pneumo.edge_runtime.files import advice

            where = f" ({error.filename})" if error.filename else ""
            click.echo(f"edge-pneumo: cannot write{where}: {error.strerror}. {advice(error)}", err=True)
            sys.exit(3)
        raise


def _terminate(*_: object) -> None:
    raise Terminated


def _open_closed_streams() -> None:
    """Started with `>&-`, as some service managers do, Python has no stdout: give it one that leads nowhere.

    Opening takes the lowest free descriptor, so that no file of ours becomes descriptor 1 or 2 by chance.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123  (for the whole process)


if __name__ == "__main__":
    main()
