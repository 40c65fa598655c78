"""The gate at the door: only a frontal chest radiograph goes through, by its header (here) and then by its picture
(`door_picture`).

A fact that is missing passes; a fact that says otherwise refuses; a doubtful one passes with a warning. `force` turns
refusals into warnings. What the thresholds refuse is measured by `python -m edge_pneumo.benchmarks.door_check`.
"""

from __future__ import annotations

import re

from edge_pneumo.edge_runtime.radiograph import Acquisition
from edge_pneumo.errors import FilmRefused

RADIOGRAPH_MODALITIES = frozenset({"CR", "DX", "RG", "DR", "XR"})
UNSURE_MODALITIES = frozenset({"OT", "SC", "DD", "HC", "FILM"})
RADIOGRAPH_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.1",  # Computed Radiography, and below it Digital X-Ray
    "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture, and below it its multi-frame kin
)
NOT_RADIOGRAPH_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.1.2",  # Digital Mammography
    "1.2.840.10008.5.1.4.1.1.1.3",  # Digital Intra-Oral
)
STORAGE_CLASSES = "1.2.840.10008.5.1.4.1.1."
CHEST = re.compile(r"CHEST|THORA|TH[OÓ]RAX|T[OÓ]RAX|LUNG|PULM|\bCXR\b|\bTHX\b|POITRINE|PECTO|\bRIB")
ELSEWHERE = re.compile(
    r"ABDO|SKULL|HEAD|BRAIN|NECK|SPINE|SACR|COCCYX|PELVI|\bHIP\b|HIPS|FEMUR|KNEE|PATELLA|LEG\b|TIBIA|FIBULA|ANKLE|FOOT|FEET"
    r"|\bTOE|HEEL|CALCAN|SHOULDER|SCAPULA|CLAVIC|HUMERUS|ELBOW|FOREARM|RADIUS|ULNA|WRIST|HAND|FINGER|THUMB|EXTREMIT|BREAST"
    r"|\bJAW|MANDIB|TEETH|TOOTH|DENTAL|SINUS|NASAL|NOSE|ORBIT|FACE|FACIAL|PANCREAS|LIVER|KIDNEY|BLADDER|UTERUS|COLON|STOMACH"
    r"|BOWEL|PROSTATE|WHOLE ?BODY|L[- ]?SPINE|C[- ]?SPINE|ARM\b"
)
LATERAL_VIEWS = re.compile(r"^(L|R|LL|RL|LAT.*|.*LATERAL|RLO|LLO|LPO|RPO|LAO|RAO|OBL.*|.*OBLIQUE|AXIAL|LLAT|RLAT)$")
DECUBITUS_VIEWS = re.compile(r"DECUB|^(LLD|RLD|LD|RD)$")
FRONTAL_VIEWS = re.compile(r"^(AP|PA)\b|ANTERO|POSTERO|FRONTAL")


def check_header(facts: Acquisition, name: str, *, force: bool = False) -> tuple[str, ...]:
    """Weigh what the header says.

    Returns
    -------
    Warnings: doubts, and with `force` what would have been refused.

    Raises
    ------
    FilmRefused : `not-a-radiograph`, `multi-frame`, `not-a-chest` or `not-frontal`.
    """
    doubts = []
    for reason, sentence in _objections(facts):
        if reason is None or force:
            doubts.append(sentence)
        else:
            raise FilmRefused(reason, f"{name}: {sentence}. A frontal chest radiograph is read; --force overrides.")
    return tuple(doubts)


def says_frontal_chest(facts: Acquisition) -> bool:
    """True where the header names a chest and a frontal view."""
    part, view = (facts.body_part or "").upper(), (facts.view or "").upper()
    return bool(CHEST.search(part) and FRONTAL_VIEWS.search(view))


def quarter_turns(facts: Acquisition) -> int:
    """Quarter turns, counter-clockwise, that put the head at the top by Patient Orientation (0020,0020), DICOM PS3.3
    C.7.6.1.1.1; 0 where it says nothing. Left and right are left as they are."""
    right, down = _orientation(facts)
    return 2 if down == "H" else {"H": 1, "F": 3}.get(right, 0)


def _orientation(facts: Acquisition) -> tuple[str, str]:
    """Where a row leads to, rightwards, and a column, downwards: the first letter of each, or empty."""
    ends = (facts.orientation or "").upper().split("\\")
    return (ends[0][:1], ends[1][:1]) if len(ends) == 2 else ("", "")


def _objections(facts: Acquisition) -> list[tuple[str | None, str]]:
    """What speaks against a film, gravest first: (reason, sentence), the reason None where it is only a doubt."""
    found: list[tuple[str | None, str]] = []
    modality = (facts.modality or "").upper()
    sop_class = facts.sop_class_uid or ""
    if modality in UNSURE_MODALITIES:
        found.append((None, f"modality {modality} does not say that this is a radiograph"))
    elif modality and modality not in RADIOGRAPH_MODALITIES:
        found.append(("not-a-radiograph", f"modality {modality}, expected CR or DX"))
    if sop_class.startswith(STORAGE_CLASSES) and (
        sop_class.startswith(NOT_RADIOGRAPH_CLASSES)
        or not any(sop_class == c or sop_class.startswith(c + ".") for c in RADIOGRAPH_CLASSES)
    ):
        found.append(("not-a-radiograph", f"SOP class {sop_class} is not a radiograph's"))
    if facts.frames > 1:
        found.append(("multi-frame", f"{facts.frames} frames, expected one"))
    part = (facts.body_part or "").upper()
    if part and not CHEST.search(part):
        if ELSEWHERE.search(part):
            found.append(("not-a-chest", f"body part {part}, expected CHEST"))
        else:
            found.append((None, f"body part {part} is not known to be a chest"))
    view = (facts.view or "").upper()
    if DECUBITUS_VIEWS.search(view):
        found.append((None, f"view {view}: a film of a lying patient, on which the model was not trained"))
    elif LATERAL_VIEWS.match(view):
        found.append(("not-frontal", f"view {view}, expected AP or PA"))
    elif view and not FRONTAL_VIEWS.search(view):
        found.append((None, f"view {view} is not known to be frontal"))
    right, down = _orientation(facts)
    if right in ("A", "P") and not FRONTAL_VIEWS.search(view):
        found.append(("not-frontal", f"patient orientation {right}/{down} is that of a lateral film"))
    if (facts.intent or "").upper() == "FOR PROCESSING":
        found.append(
            (None, "the header says FOR PROCESSING: greys as the detector gave them; give the film FOR PRESENTATION")
        )
    return sorted(found, key=lambda objection: objection[0] is None)
