"""Lossless JPEG (ITU-T T.81 process 14), what many hospital archives store: decoded by numpy alone.

Of pydicom's plug-ins only GPL's libjpeg and GDCM read it, which the base install should not need. Entropy codes follow
one another with no index, so one plain loop walks from code to code; everything else is done for all codes at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_pneumo.edge_runtime.limits import Deadline
from edge_pneumo.errors import FilmRefused

CHUNK_BYTES = 1 << 19
"""Bytes of code looked up at once: eight bit positions a byte, two bytes each."""


@dataclass(frozen=True)
class Scan:
    """A lossless frame with its single scan, ready to be decoded."""

    width: int
    height: int
    components: int
    precision: int
    predictor: int
    shift: int
    restart_rows: int
    symbols: NDArray[np.uint8]
    lengths: NDArray[np.uint8]
    intervals: tuple[bytes, ...]


def decode(stream: bytes | memoryview, deadline: Deadline) -> NDArray[np.uint16]:
    """Samples (h, w, components) uint16, not yet sign extended.

    Raises
    ------
    FilmRefused : `truncated`, `unreadable`, `timeout`, or `unsupported-transfer-syntax` for kinds never seen in
        radiographs (subsampled or separately coded components).
    """
    scan = parse(bytes(stream), deadline.name)
    per_interval = scan.restart_rows or scan.height
    bands = []
    for index, code in enumerate(scan.intervals):
        rows = min(per_interval, scan.height - index * per_interval)
        if rows <= 0:
            break
        differences = _differences(code, rows * scan.width * scan.components, scan, deadline)
        grid = differences.reshape(rows, scan.width, scan.components)
        bands.append(_predict(grid, scan.predictor, 1 << (scan.precision - scan.shift - 1), deadline))
    picture = np.concatenate(bands)
    if len(picture) < scan.height:
        raise FilmRefused(
            "truncated", f"{deadline.name}: {len(picture)} of {scan.height} rows of pixels. Copy it again."
        )
    return np.left_shift(picture, scan.shift, dtype=np.uint16)


def parse(data: bytes, name: str) -> Scan:
    """Read the marker segments, and cut the entropy coded bytes at restart markers.

    Raises
    ------
    FilmRefused : see `decode`.
    """
    position, tables, restart, frame = 2, {}, 0, b""
    while position + 4 <= len(data):
        marker, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        body = data[position + 4 : position + 2 + length]
        if data[position] != 0xFF:
            raise FilmRefused("unreadable", f"{name}: damaged JPEG, no marker at byte {position}. Export it again.")
        if marker == 0xFF:
            position += 1
            continue
        if marker == 0xC3:
            frame = body
        elif marker == 0xC4:
            _read_tables(body, tables)
        elif marker == 0xDD:
            restart = int.from_bytes(body[:2], "big")
        elif marker == 0xDA:
            return _scan(frame, body, data[position + 2 + length :], tables, restart, name)
        position += 2 + max(2, length)
    raise FilmRefused("truncated", f"{name}: its JPEG ends before its pixels. Copy it again.")


def _scan(frame: bytes, body: bytes, code: bytes, tables: dict, restart: int, name: str) -> Scan:
    if len(frame) < 9 or len(body) < 6 or len(body) < 4 + 2 * body[0] or len(frame) < 6 + 3 * frame[5]:
        raise FilmRefused("unreadable", f"{name}: damaged lossless JPEG. Export it again.")
    components = frame[5]
    selectors = {body[2 + 2 * c] >> 4 for c in range(body[0])}
    sampling = {frame[7 + 3 * c] for c in range(components)}
    width, precision, shift = int.from_bytes(frame[3:5], "big"), frame[0], body[2 * body[0] + 3] & 15
    plain = body[0] == components and (components == 1 or sampling == {0x11}) and len(selectors) == 1
    whole_rows = restart % width == 0 if width else False
    predictor = body[2 * body[0] + 1]
    if not plain or not whole_rows or not 1 <= predictor <= 7:
        raise FilmRefused(
            "unsupported-transfer-syntax", f"{name}: an unusual kind of lossless JPEG. Export it uncompressed."
        )
    table = tables.get(selectors.pop())
    if table is None or not shift < precision <= 16:
        raise FilmRefused("unreadable", f"{name}: lossless JPEG without a code table. Export it again.")
    return Scan(
        width=width,
        height=int.from_bytes(frame[1:3], "big"),
        components=components,
        precision=precision,
        predictor=predictor,
        shift=shift,
        restart_rows=restart // width,
        symbols=table[0],
        lengths=table[1],
        intervals=_intervals(code, restart),
    )


def _read_tables(body: bytes, tables: dict[int, tuple[NDArray[np.uint8], NDArray[np.uint8]]]) -> None:
    """Huffman tables as two arrays over every 16-bit window: symbol, and length of its code (0: no code)."""
    while len(body) >= 17:
        counts, symbols = body[1:17], body[17 : 17 + sum(body[1:17])]
        values, lengths = np.zeros(65536, np.uint8), np.zeros(65536, np.uint8)
        code, used = 0, 0
        for length, count in enumerate(counts, start=1):
            for symbol in symbols[used : used + count]:
                first = code << (16 - length)
                values[first : first + (1 << (16 - length))] = min(symbol, 16)
                lengths[first : first + (1 << (16 - length))] = length
                code += 1
            used += count
            code <<= 1
        tables[body[0] & 15] = values, lengths
        body = body[17 + sum(counts) :]


def _intervals(code: bytes, restart: int) -> tuple[bytes, ...]:
    """Entropy coded bytes, cut at restart markers, without byte stuffing and without what follows the scan."""
    if not restart:
        return (_until_marker(code),)
    parts, start, position = [], 0, code.find(b"\xff")
    while position >= 0 and position + 1 < len(code):
        marker = code[position + 1]
        if 0xD0 <= marker <= 0xD7:
            parts.append(code[start:position])
            start = position + 2
        elif marker not in (0x00, 0xFF):
            break
        position = code.find(b"\xff", position + (1 if marker == 0xFF else 2))
    parts.append(_until_marker(code[start:]))
    return (*(part.replace(b"\xff\x00", b"\xff") for part in parts[:-1]), parts[-1])


def _until_marker(code: bytes) -> bytes:
    octets = np.frombuffer(code, np.uint8)
    marks = np.flatnonzero((octets[:-1] == 0xFF) & (octets[1:] != 0))
    return code[: int(marks[0]) if marks.size else len(code)].replace(b"\xff\x00", b"\xff")


def _differences(code: bytes, wanted: int, scan: Scan, deadline: Deadline) -> NDArray[np.uint16]:
    """The coded differences, `wanted` of them, modulo 65,536."""
    # A code's step is its length and the bits that follow it; 255 stops the walk where no code begins.
    extra = np.where(scan.symbols == 16, 0, scan.symbols)
    steps = np.where(scan.lengths == 0, 255, scan.lengths + extra).astype(np.uint8)
    out, done, bit = np.empty(wanted, np.uint16), 0, 0
    padded = code + b"\xff" * 8
    while done < wanted:
        deadline.check()
        first = bit >> 3
        if first >= len(code):
            raise FilmRefused("truncated", f"{deadline.name}: {done:,} of {wanted:,} pixels. Copy it again.")
        part = np.frombuffer(padded, np.uint8, min(CHUNK_BYTES, len(code) - first) + 6, first).astype(np.uint32)
        words = part[:-2] << 16 | part[1:-1] << 8 | part[2:]
        windows = np.stack([words >> (8 - k) for k in range(8)], 1).astype(np.uint16).ravel()
        usable = windows.size - 32
        starts, bit_in_part = _walk(steps[windows[:usable]].tobytes(), bit & 7, usable, wanted - done)
        if not len(starts):
            raise FilmRefused(
                "unreadable", f"{deadline.name}: no JPEG code at pixel {done:,}. Copy or export it again."
            )
        found = _values(windows, starts, scan)
        out[done : done + len(found)] = found
        done += len(found)
        bit = (first << 3) + bit_in_part
    return out


def _walk(steps: bytes, bit: int, end: int, limit: int) -> tuple[NDArray[np.int64], int]:
    """Bit positions of at most `limit` codes from `bit` on, and the position after the last."""
    starts: list[int] = []
    keep = starts.append
    for _ in range(limit):
        if bit >= end:
            break
        step = steps[bit]
        if step == 255:
            break
        keep(bit)
        bit += step
    return np.array(starts, np.int64), bit


def _values(windows: NDArray[np.uint16], starts: NDArray[np.int64], scan: Scan) -> NDArray[np.uint16]:
    """Differences coded at bit positions (T.81 H.1.2.2): the symbol says how many bits of magnitude follow."""
    seen = windows[starts]
    size = scan.symbols[seen].astype(np.int32)
    bits = windows[starts + scan.lengths[seen]].astype(np.int32) >> np.minimum(16 - size, 15)
    bits = np.where(size == 0, 0, bits)
    negative = bits < (1 << np.maximum(size - 1, 0))
    value = np.where(negative & (size > 0), bits - (1 << size) + 1, bits)
    return np.where(size == 16, 32768, value).astype(np.uint16)


def _predict(grid: NDArray[np.uint16], predictor: int, start: int, deadline: Deadline) -> NDArray[np.uint16]:
    """Undo the prediction of one restart interval (T.81 table H.1), modulo 65,536.

    The first row is predicted from its left, the first column from above, whatever the predictor.
    """
    grid = grid.copy()
    grid[0, 0] += np.uint16(start)
    if predictor == 1:
        grid[:, 0] = np.cumsum(grid[:, 0], axis=0, dtype=np.uint16)
        return np.cumsum(grid, axis=1, dtype=np.uint16)
    if predictor == 4:
        return np.cumsum(np.cumsum(grid, axis=1, dtype=np.uint16), axis=0, dtype=np.uint16)
    grid[0] = np.cumsum(grid[0], axis=0, dtype=np.uint16)
    if predictor == 2:
        return np.cumsum(grid, axis=0, dtype=np.uint16)
    grid[:, 0] = np.cumsum(grid[:, 0], axis=0, dtype=np.uint16)
    wide = grid.astype(np.int32)
    if predictor in (3, 5):
        for row in range(1, len(wide)):
            above, above_left = wide[row - 1, 1:], wide[row - 1, :-1]
            if predictor == 3:
                wide[row, 1:] = (wide[row, 1:] + above_left) & 0xFFFF
            else:
                wide[row, 1:] += (above - above_left) >> 1
                wide[row] = np.cumsum(wide[row], axis=0) & 0xFFFF
    elif predictor == 6:
        for column in range(1, wide.shape[1]):
            wide[1:, column] += (wide[1:, column - 1] - wide[:-1, column - 1]) >> 1
            wide[:, column] = np.cumsum(wide[:, column], axis=0) & 0xFFFF
    else:
        _predict_mean(wide)
    deadline.check()
    return wide.astype(np.uint16)


def _predict_mean(wide: NDArray[np.int32]) -> None:
    """Predictor 7, the mean of left and above: pixels of an anti-diagonal depend only on the one before."""
    height, width = wide.shape[:2]
    for diagonal in range(2, height + width - 1):
        rows = np.arange(max(1, diagonal - width + 1), min(height, diagonal))
        columns = diagonal - rows
        mean = (wide[rows, columns - 1] + wide[rows - 1, columns]) >> 1
        wide[rows, columns] = (wide[rows, columns] + mean) & 0xFFFF
