"""Quantisation-aware training, conversion to TFLite, and the proof that it is no worse."""
