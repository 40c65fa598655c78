"""A lossless JPEG encoder for tests, written from ITU-T T.81 and as simple as it can be."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def encode_lossless(
    pixels: NDArray, precision: int = 12, predictor: int = 1, shift: int = 0, restart_rows: int = 0
) -> bytes:
    """Encode (h, w) or (h, w, c) unsigned samples; codes of five bits stand for all 17 sizes of difference."""
    samples = (pixels.reshape(*pixels.shape[:2], -1).astype(np.int64)) >> shift
    height, width, components = samples.shape
    code = bytearray()
    rows = restart_rows or height
    for index, top in enumerate(range(0, height, rows)):
        if index:
            code += bytes((0xFF, 0xD0 + (index - 1) % 8))
        code += _entropy(_differences(samples[top : top + rows], predictor, 1 << (precision - shift - 1)))
    frame = bytes((precision, *height.to_bytes(2, "big"), *width.to_bytes(2, "big"), components))
    frame += b"".join(bytes((c + 1, 0x11, 0)) for c in range(components))
    table = bytes((0, 0, 0, 0, 0, 17, *bytes(11), *range(17)))
    scan = bytes((components, *sum(((c + 1, 0) for c in range(components)), ()), predictor, 0, shift))
    restart = _segment(0xDD, (rows * width).to_bytes(2, "big")) if restart_rows else b""
    parts = _segment(0xC3, frame) + _segment(0xC4, table) + restart + _segment(0xDA, scan)
    return b"\xff\xd8" + parts + bytes(code) + b"\xff\xd9"


def _segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body


def _differences(samples: NDArray, predictor: int, start: int) -> list[int]:
    out = []
    for y in range(len(samples)):
        for x in range(samples.shape[1]):
            for c in range(samples.shape[2]):
                a = int(samples[y, x - 1, c]) if x else 0
                b = int(samples[y - 1, x, c]) if y else 0
                d = int(samples[y - 1, x - 1, c]) if x and y else 0
                if not x and not y:
                    guess = start
                elif not y:
                    guess = a
                elif not x:
                    guess = b
                else:
                    guess = (a, b, d, a + b - d, a + ((b - d) >> 1), b + ((a - d) >> 1), (a + b) >> 1)[predictor - 1]
                out.append((int(samples[y, x, c]) - guess + 32767) % 65536 - 32767)
    return out


def _entropy(differences: list[int]) -> bytes:
    bits = []
    for value in differences:
        size = abs(value).bit_length()
        bits.append(format(size, "05b"))
        if 0 < size < 16:
            bits.append(format(value if value > 0 else value + (1 << size) - 1, f"0{size}b"))
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\x00")
