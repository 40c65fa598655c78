"""What is written beside the answer: overlay pictures and DICOM objects. One file a kind and a film.

overlay   PNG     the film with boxes, heat map and caption
sr        DICOM   Comprehensive 3D SR, TID 1500: probability and box regions, for machines
gsps      DICOM   grayscale softcopy presentation state: the boxes, drawn by any viewer over the film
sc        DICOM   secondary capture: the overlay picture, for viewers that do neither
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_pneumo.edge_runtime.predict import Examination, FilmSource

SUFFIXES = {"overlay": ".png", "sr": ".sr.dcm", "gsps": ".gsps.dcm", "sc": ".sc.dcm"}
"""Kind of output -> how its files' names end."""


def prepare(kinds: Iterable[str]) -> None:
    """Import what writing these kinds needs, before there is a film.

    Raises
    ------
    MissingExtra : the DICOM kinds need highdicom.
    """
    from edge_pneumo.edge_runtime.outputs import overlay  # noqa: F401

    if set(kinds) - {"overlay"}:
        from edge_pneumo.edge_runtime.outputs.dicom import require_highdicom

        require_highdicom()
        import highdicom  # noqa: F401


def write_output(
    kind: str, path: str | Path, source: FilmSource, examination: Examination, *, heat: bool = True
) -> None:
    """Write one output of one examined film, whole or not at all.

    Parameters
    ----------
    kind : a key of `SUFFIXES`.
    path : the file to write.
    source : the film, as `Detector.examine` got it (an open file can be read only once: give its path or bytes).
    examination : what it answered.
    heat : draw the heat map (overlay and sc).

    Raises
    ------
    InputRefused : the film is no DICOM file, or lacks what a DICOM object must refer to.
    WriteFailed : no space or no permission.
    MissingExtra : the DICOM kinds need highdicom.
    """
    if kind == "overlay":
        from edge_pneumo.edge_runtime.outputs.overlay import write_overlay

        write_overlay(path, source, examination, heat=heat)
    else:
        from edge_pneumo.edge_runtime.outputs.dicom import write_dicom

        write_dicom(kind, path, source, examination, heat=heat)
