"""Event files for TensorBoard, written by TensorFlow alone: Keras's own callback needs the package `tensorboard`, which
TensorFlow no longer brings and which is wanted only where the curves are looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def event_writer(folder: Path) -> Any:
    """A Keras callback that writes every number of an epoch's log, `val_` ones beside those of training."""
    import tensorflow as tf
    from tf_keras.callbacks import Callback

    scalar = tf.compat.v1.SummaryMetadata(
        plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"),
        data_class=1,  # DATA_CLASS_SCALAR of tensorflow/core/framework/summary.proto
    )
    writers = {name: tf.summary.create_file_writer(str(folder / name)) for name in ("train", "val")}

    class Events(Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
            for name, value in logs.items():
                kind = "val" if name.startswith("val_") else "train"
                with writers[kind].as_default(step=epoch + 1):
                    tf.summary.write(name.removeprefix("val_"), tf.constant(float(value)), metadata=scalar)
            for writer in writers.values():
                writer.flush()

        def on_train_end(self, logs: Any = None) -> None:
            for writer in writers.values():
                writer.close()

    return Events()
