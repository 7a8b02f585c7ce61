"""Swin for images (MMDetection) and for video (MMAction2)."""
