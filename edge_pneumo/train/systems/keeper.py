"""Keras callbacks of a system's training: judge each epoch on val, and keep log and state so that it can go on."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_pneumo.train.fit import write_log
from edge_pneumo.train.resume import State, save_state
from edge_pneumo.train.systems.catalogue import System
from edge_pneumo.train.systems.feed import Pictures, Say, outputs


@dataclass(frozen=True)
class Keeper:
    """`judge` belongs before ReduceLROnPlateau, which reads its val_loss; `save` after it, to store what it did."""

    judge: Any
    save: Any
    rows: list[dict[str, Any]]


def keeper(
    system: System, val: Pictures, plateau: Any, out: Path, fingerprint: str, state: State | None, epochs: int, say: Say
) -> Keeper:
    """Both callbacks; `state` is where an interrupted run stands, or None."""
    from tf_keras.callbacks import Callback

    rows: list[dict[str, Any]] = list(state.rows) if state else []
    began = [0.0]

    class Judge(Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            began[0] = time.monotonic()

        def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
            logs.update(judged(outputs(self.model, val.images, system.scaling), val, system.one_box))

    class Save(Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            if state is None:
                return
            self.model.set_weights(state.arrays["weights"])
            for variable, value in zip(self.model.optimizer.variables, state.arrays["optimizer"], strict=True):
                variable.assign(value)
            rate, best, wait, cooldown = (float(v) for v in state.arrays["plateau"][0])
            self.model.optimizer.learning_rate.assign(rate)
            plateau.best, plateau.wait, plateau.cooldown_counter = best, int(wait), int(cooldown)
            say(f"resumed after epoch {state.epoch}")

        def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
            rate = float(self.model.optimizer.learning_rate.numpy())
            accuracy = next(value for name, value in logs.items() if name.endswith("accuracy") and "val" not in name)
            judged_names = ("val_loss", "val_accuracy", "val_auc")
            row = {"epoch": epoch + 1, "loss": float(logs["loss"]), "accuracy": float(accuracy)}
            row |= {name: logs[name] for name in judged_names}
            row |= {"learning_rate": float(logs["lr"]), "seconds": round(time.monotonic() - began[0], 2)}
            rows.append(row)
            arrays = {
                "weights": self.model.get_weights(),
                "optimizer": [variable.numpy() for variable in self.model.optimizer.variables],
                "plateau": [np.array([rate, plateau.best, plateau.wait, plateau.cooldown_counter])],
            }
            save_state(out / "state.npz", State(0, epoch + 1, rows, arrays), fingerprint)
            write_log(out / "log.csv", rows)
            left = (epochs - epoch - 1) * row["seconds"]
            say(
                f"{system.name} {epoch + 1}/{epochs}: loss {row['loss']:.3f}, val loss {row['val_loss']:.3f}, "
                f"val AUC {row['val_auc']:.3f}, {row['seconds']:.0f} s, about {left / 60:.1f} min left"
            )

    return Keeper(Judge(), Save(), rows)


def judged(out: dict[str, np.ndarray], val: Pictures, one_box: bool) -> dict[str, float]:
    """Loss, accuracy at even odds and AUC on val. A box adds its share of the loss as in training."""
    from edge_pneumo.benchmarks.metrics import auc

    logit, label = out["image_logit"].astype(np.float64), val.labels
    loss = float(np.mean(np.logaddexp(0, logit) - label * logit))
    if one_box:
        off = np.abs(out["box"] - val.boxes)
        huber = np.where(off <= 0.1, 0.5 * off**2, 0.1 * (off - 0.05)).mean(axis=1)
        loss += float(np.mean(huber * val.boxed))
    return {"val_loss": loss, "val_accuracy": float(np.mean((logit > 0) == label)), "val_auc": auc(label, logit)}
