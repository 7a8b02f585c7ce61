"""The networks that are analyzed."""
