"""Reversible engines compared on one vision transformer."""
