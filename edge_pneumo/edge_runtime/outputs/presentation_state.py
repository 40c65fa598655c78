"""Grayscale softcopy presentation state: the boxes, for any DICOM viewer to draw over the film."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_pneumo.edge_runtime.outputs.dicom import RESEARCH_ONLY, equipment, series, summary
from edge_pneumo.errors import InputRefused

if TYPE_CHECKING:
    import highdicom as hd
    from pydicom.dataset import Dataset

    from edge_pneumo.edge_runtime.decode import Box
    from edge_pneumo.edge_runtime.result import FilmResult

LAYER = "EDGE_PNEUMO"
MOST_CHARACTERS = 1024
"""Of an Unformatted Text Value (PS3.5 table 6.2-1, ST)."""


def build_gsps(evidence: Dataset, result: FilmResult) -> Dataset:
    """The presentation state of an answered film: one rectangle and score a box, and lines of text, which say the
    answer and what the user is warned of.

    Raises
    ------
    InputRefused : the film is in colour, for which the standard has another object.
    """
    import highdicom as hd

    if result.model is None:
        raise ValueError("a refused film has no presentation state")
    if evidence.get("SamplesPerPixel", 1) != 1:
        raise InputRefused(f"{result.file}: a presentation state (--gsps) cannot show a colour film; use --sc.")
    if evidence.get("NumberOfFrames", 1) != 1 or "Enhanced" in hd.UID(evidence.SOPClassUID).name:
        raise InputRefused(f"{result.file}: a presentation state (--gsps) is made for films of one frame; use --sc.")
    layer = hd.pr.GraphicLayer(LAYER, order=1, description=RESEARCH_ONLY, display_color=None)
    annotation = hd.pr.GraphicAnnotation(
        referenced_images=[evidence],
        graphic_layer=layer,
        graphic_objects=[_rectangle(box) for box in result.boxes] or None,
        text_objects=[*_captions(result), *(_score(box, evidence) for box in result.boxes)],
    )
    # PS3.3 C.11.6: a presentation state replaces the film's photometric interpretation, so MONOCHROME1 needs INVERSE
    inverse = evidence.get("PhotometricInterpretation") == "MONOCHROME1"
    shape = hd.PresentationLUTShapeValues.INVERSE if inverse else hd.PresentationLUTShapeValues.IDENTITY
    state = hd.pr.GrayscaleSoftcopyPresentationState(
        referenced_images=[evidence],
        content_label=LAYER,
        content_description=RESEARCH_ONLY,
        graphic_layers=[layer],
        graphic_annotations=[annotation],
        presentation_lut_transformation=hd.PresentationLUTTransformation(presentation_lut_shape=shape),
        **series("gsps"),
        **equipment(result.model),
    )
    state.Laterality = None  # type 2C, and a chest is a paired structure without a side
    return state


def _rectangle(box: Box) -> hd.pr.GraphicObject:
    import highdicom as hd
    import numpy as np

    corners = [(box.x1, box.y1), (box.x2, box.y1), (box.x2, box.y2), (box.x1, box.y2), (box.x1, box.y1)]
    return hd.pr.GraphicObject(
        graphic_type=hd.pr.GraphicTypeValues.POLYLINE,
        graphic_data=np.array(corners, np.float32),
        units=hd.pr.AnnotationUnitsValues.PIXEL,
    )


def _score(box: Box, evidence: Dataset) -> hd.pr.TextObject:
    """The score just above the box, or just inside it where the film ends."""
    import highdicom as hd

    height = evidence.Rows / 30
    top = box.y1 - height if box.y1 >= height else box.y1
    right = min(float(evidence.Columns), box.x1 + evidence.Columns / 6)
    return hd.pr.TextObject(
        text_value=f"opacity {box.score:.2f}",
        units=hd.pr.AnnotationUnitsValues.PIXEL,
        bounding_box=(box.x1, top, right, top + height),
    )


def _captions(result: FilmResult) -> list[hd.pr.TextObject]:
    """Lines of text at the top of the display, one under the other."""
    import highdicom as hd

    # ASCII, as in SR: a name in another alphabet must not decide the character set of the whole object
    said = (
        f"warning: {sentence.encode('ascii', 'replace').decode()}"[:MOST_CHARACTERS] for sentence in result.warnings
    )
    return [
        hd.pr.TextObject(
            text_value=line,
            units=hd.pr.AnnotationUnitsValues.DISPLAY,
            bounding_box=(0.01, 0.01 + 0.05 * place, 0.99, 0.06 + 0.05 * place),
        )
        for place, line in enumerate((f"{summary(result)}. {RESEARCH_ONLY}", *said))
    ]
