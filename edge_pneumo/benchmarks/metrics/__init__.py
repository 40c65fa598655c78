"""One evaluator for float runs, QAT runs and .tflite files alike, and the plain numpy figures it is made of."""

from edge_pneumo.benchmarks.metrics.classification import auc
from edge_pneumo.benchmarks.metrics.detection import rsna_score

__all__ = ["auc", "rsna_score"]
