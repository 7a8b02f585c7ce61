"""Checks of annotation files in COCO's format and of the images that they name."""
