"""Measurements and pictures behind the commands in tools/analysis."""
