"""A chest phantom: made-up films in the Kaggle layout, for demos and tests on machines without real ones."""

from edge_pneumo.train.data.phantom.dataset import make_phantom

__all__ = ["make_phantom"]
