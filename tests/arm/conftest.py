"""The emulated boards, built once a session; `scripts/test-arm` says where."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_pneumo.benchmarks.arm.userland import Emulator, EmulatorUnavailable, build


@pytest.fixture(scope="session")
def emulator() -> Emulator:
    folder = os.environ.get("EDGE_PNEUMO_ARM")
    if not folder:
        pytest.skip("EMULATED PIS NOT TESTED here: run scripts/test-arm")
    try:
        return build(Path(folder))
    except EmulatorUnavailable as error:
        pytest.skip(f"EMULATED PIS NOT TESTED: {error}")
