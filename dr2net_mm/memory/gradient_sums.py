"""Sums of gradients that come piece by piece."""

from typing import List, Optional, Sequence

import torch
from torch import Tensor

from dr2net_mm.reversible.replay import hooks_silenced

from .call_arguments import part

Gradients = List[Optional[Tensor]]


class GradientSums:
    """Sums of the gradients of all pieces."""

    def __init__(
        self, tensors: Sequence[Tensor], needs: Sequence[bool], single: bool
    ) -> None:
        self._tensors = tensors
        self._needs = needs
        self._single = single
        self.found: Gradients = [None] * len(tensors)

    def add(
        self,
        results: Gradients,
        axes: Sequence[int],
        rows: slice,
        columns: Optional[slice],
        batch: int,
    ) -> None:
        """Add gradients of one piece in their places."""
        for i, result in enumerate(results):
            results[i] = None
            if result is None or not self._needs[i]:
                continue
            total = self.found[i]
            if total is None:
                if self._single:
                    self.found[i] = result
                    continue
                total = self.found[i] = torch.zeros_like(self._tensors[i])
            elif self._single:
                # It may share its memory with another gradient.
                self.found[i] = total + result
                continue
            part(total, axes[i], rows, columns, batch).add_(result)


def summed(
    total: Optional[Tensor], more: Optional[Tensor], alone: bool
) -> Optional[Tensor]:
    """Add a term to a sum, in place; the first one is copied unless alone."""
    if total is None:
        return more if alone or more is None else more.clone()
    return total if more is None else total.add_(more)


def gradients_of(
    outputs: Sequence[Tensor], grads: Sequence[Tensor], inputs: Sequence[Tensor]
) -> Gradients:
    """Return the gradients of those inputs that require one, None for the others."""
    wanted = [x for x in inputs if x.requires_grad]
    with hooks_silenced(wanted):
        found = iter(
            torch.autograd.grad(outputs, wanted, grads, allow_unused=True)
            if wanted
            else ()
        )
    return [next(found) if x.requires_grad else None for x in inputs]
