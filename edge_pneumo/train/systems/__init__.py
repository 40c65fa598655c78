"""The seven systems of the reference report: built, started from weights, trained, loaded and compared.

`list_systems`, `train_system` and `load_system` are what the command line calls; nothing here imports TensorFlow until
one of them runs.
"""

from __future__ import annotations

from edge_pneumo.train.systems.catalogue import SYSTEMS, System, find_system, list_systems
from edge_pneumo.train.systems.fit import train_system
from edge_pneumo.train.systems.trained import TrainedSystem, load_system

__all__ = [
    "SYSTEMS",
    "System",
    "TrainedSystem",
    "find_system",
    "list_systems",
    "load_system",
    "train_system",
]
