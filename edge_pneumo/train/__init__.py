"""Data sets, the detector, the reference systems, and fitting them."""
