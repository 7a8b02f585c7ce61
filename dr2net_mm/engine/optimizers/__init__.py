"""Constructors of optimizers with a rate for each layer."""

from .layer_decay import LayerDecayOptimWrapperConstructor
from .parameter_layers import parameter_layers

__all__ = ['LayerDecayOptimWrapperConstructor', 'parameter_layers']
