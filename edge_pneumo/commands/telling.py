"""Progress of the long commands on stderr, and whether films had to be left out."""

from __future__ import annotations

import click


class Teller:
    """Says sentences on stderr, a film that was left out only once; `finish` turns those into the exit code."""

    def __init__(self) -> None:
        self.left_out: set[str] = set()

    def __call__(self, sentence: str) -> None:
        from edge_pneumo.train.data.cache import LeftOut

        if isinstance(sentence, LeftOut):
            if sentence in self.left_out:
                return
            self.left_out.add(sentence)
        click.echo(sentence, err=True)

    def finish(self) -> None:
        """End with 3 if some film could not be read; the rest was done."""
        if self.left_out:
            n = len(self.left_out)
            click.echo(f"{n} film{'s' * (n > 1)} could not be read; everything else was done", err=True)
            click.get_current_context().exit(3)
