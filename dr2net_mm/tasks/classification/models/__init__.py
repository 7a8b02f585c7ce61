"""Classifiers, registered in MMEngine's root registry."""

from .feature_classifier import FeatureClassifier

__all__ = ['FeatureClassifier']
