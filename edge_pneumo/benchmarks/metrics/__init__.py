"""One evaluator for float runs, QAT runs and .tflite files alike, and the plain numpy figures it is made of."""

from edge_pneumo.benchmarks.metrics.classification import auc
from edge_pneumo.benchmarks.metrics.compare import paired_difference
from edge_pneumo.benchmarks.metrics.detection import rsna_score
from edge_pneumo.benchmarks.metrics.evaluator import evaluate

__all__ = ["auc", "evaluate", "paired_difference", "rsna_score"]
