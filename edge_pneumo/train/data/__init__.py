"""Data sets: readers into one index of films, checks, splits, cache, exploration, phantom films. No TensorFlow."""
