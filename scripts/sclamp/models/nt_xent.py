"""The normalised temperature-scaled cross-entropy of pairs (NT-Xent; Chen et al., ICML 2020)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from sclamp.types import Gather


class Pairs(NamedTuple):
    """Of each cell: loss (n,), mean over its two views; found (n,), share of views that are nearest to the other."""

    loss: Tensor
    found: Tensor


def nt_xent(first: Tensor, second: Tensor, temperature: float, gather: Gather | None = None) -> Pairs:
    """Each view is told from all others as the partner of its cell's other view.

    first, second: views of the cells (n, d), of length one each. gather: brings together the cells of all processes
    that share the batch, so that a cell is told from all of theirs too.
    """
    all_first, all_second, start = first, second, 0
    if gather is not None:
        all_first, all_second = gather(torch.cat([first, second], 1)).split(first.shape[1], 1)
        start = gather.start
    n, total = len(first), len(all_first)
    own = torch.arange(start, start + n, device=first.device)
    whole = torch.cat([all_first, all_second])
    losses, found = [], []
    for view, itself, partner in ((first, own, own + total), (second, own + total, own)):
        similar = (view @ whole.T) / temperature
        similar = similar.scatter(1, itself.unsqueeze(1), float("-inf"))
        losses.append(F.cross_entropy(similar, partner, reduction="none"))
        found.append((similar.argmax(1) == partner).float())
    return Pairs(torch.stack(losses).mean(0), torch.stack(found).mean(0))
