"""edge-pneumo: train, quantise, run and benchmark a pneumonia detector for small computers."""

__version__ = "0.1.0"
