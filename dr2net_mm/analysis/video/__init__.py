"""Scores and pictures of video detectors."""
