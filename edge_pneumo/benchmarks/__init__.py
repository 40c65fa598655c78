"""Accuracy and speed: one evaluator for every kind of model, latency, device facts, reports."""
