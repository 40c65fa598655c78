"""Damaged films are read or refused: no other exception, no hang, no burst of memory, no warning (an error here)."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

import numpy as np
import pytest
from ingest_films import chest, film, jpeg, written
from ingest_lossless import encode_lossless
from ingest_mutations import mutate
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    RLELossless,
)

from edge_pneumo.edge_runtime import codec_pool
from edge_pneumo.edge_runtime.limits import SECONDS_PER_FILM
from edge_pneumo.edge_runtime.radiograph import Radiograph, read_radiograph
from edge_pneumo.errors import REASONS, FilmRefused

MEMORY_KB = 512 * 1024
DEEP = (chest(96).astype(np.uint16) * 16) + 7


def ten_films() -> dict[str, bytes]:
    """Ten films that are read as they are, one for each way of storing pixels."""
    deep = {"BitsStored": 12, "HighBit": 11}
    packed = film(DEEP, **deep)
    packed.compress(RLELossless, encoding_plugin="pydicom")
    rgb = np.repeat(chest()[..., None], 3, axis=2)
    return {
        "explicit": written(film()),
        "implicit": written(film(syntax=ImplicitVRLittleEndian)),
        "big endian": written(film(syntax=ExplicitVRBigEndian)),
        "deflated": written(film(syntax=DeflatedExplicitVRLittleEndian)),
        "jpeg": written(film(syntax=JPEGBaseline8Bit)),
        "progressive": written(film(syntax=JPEGBaseline8Bit, PixelData=encapsulate([jpeg(chest(), progressive=True)]))),
        "lossless jpeg": written(
            film(DEEP, syntax=JPEGLosslessSV1, PixelData=encapsulate([encode_lossless(DEEP)]), **deep)
        ),
        "run length": written(packed),
        "jpeg 2000": written(film(DEEP, syntax=JPEG2000Lossless, **deep)),
        "rgb": written(film(rgb)),
    }


def answer(data: bytes) -> str:
    """`film` or the reason of the refusal, within the limits of time."""
    started = time.monotonic()
    try:
        outcome = "film" if isinstance(read_radiograph(data, size_px=64), Radiograph) else "?"
    except FilmRefused as refusal:
        outcome = refusal.reason
    assert time.monotonic() - started < SECONDS_PER_FILM + 2
    assert outcome == "film" or outcome in REASONS
    return outcome


def assert_memory_bounded() -> None:
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < MEMORY_KB
    codec_pool.POOL.close()
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < MEMORY_KB


@pytest.mark.parametrize("name", ten_films())
def test_each_undamaged_film_is_read(name):
    assert answer(ten_films()[name]) == "film"


@pytest.mark.parametrize("name", ten_films())
def test_damaged_films_are_answered(name):
    data = ten_films()[name]
    for seed in range(24):
        answer(mutate(data, seed)[1])


@pytest.mark.slow
def test_two_hundred_mutations_of_ten_films():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for data in ten_films().values():
        for seed in range(200):
            answer(mutate(data, seed)[1])
    if before < MEMORY_KB // 2:  # else other tests of this process have left too much to judge by
        assert_memory_bounded()


@pytest.mark.data
@pytest.mark.slow
def test_two_hundred_mutations_of_ten_real_films():
    root = os.environ.get("EDGE_PNEUMO_DATA")
    if not root:
        pytest.skip("EDGE_PNEUMO_DATA is not set")
    files = sorted(Path(root, "dicom-corpus", "files").iterdir(), key=lambda f: f.name)
    chosen = [f for f in files if f.stat().st_size > 4000][:: max(1, len(files) // 20)][:10]
    for file in chosen:
        data = file.read_bytes()
        for seed in range(200):
            answer(mutate(data, seed)[1])


def test_random_bytes_are_answered():
    rng = np.random.default_rng(0)
    for size in (1, 3, 8, 131, 132, 140, 4096):
        for magic in (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", bytes(128) + b"DICM", b"\x08\0\5\0CS"):
            assert answer(magic + rng.bytes(size)) != "film"
