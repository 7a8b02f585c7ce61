"""Trained networks in a form that needs no dr2net_mm: plain checkpoints and ONNX."""
