"""Arithmetic of the streams as fused GPU kernels, with the bits of the torch code."""
