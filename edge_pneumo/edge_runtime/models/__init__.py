"""The embedded default model, as package data."""
