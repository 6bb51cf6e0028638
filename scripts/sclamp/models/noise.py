"""Random numbers that are a function of (seed, step) alone.

Nothing has to be saved to resume a training, and several processes that share one batch draw what a single
process would have drawn for it.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def mixed_seed(*parts: int | str) -> int:
    """A 63-bit seed out of names and numbers; different parts give unrelated streams."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def seed_default_generator(device: torch.device | str, *parts: int | str) -> None:
    """Seed the generator that dropout and initialisation draw from on `device`."""
    device = torch.device(device)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(mixed_seed(*parts))
    else:  # torch.manual_seed would seed every kind of device, at a quarter of a millisecond each time
        torch.default_generator.manual_seed(mixed_seed(*parts))


class Noise:
    """Standard-normal draws for one step.

    seed, step: name the draws. start, total: this process holds rows start, start+1, ... of a batch of `total` cells.
    """

    def __init__(self, seed: int, step: int, start: int, total: int, device: torch.device | str = "cpu") -> None:
        self._generator = torch.Generator(device=device)
        self._generator.manual_seed(mixed_seed("noise", seed, step))
        self._start, self._total = start, total

    def for_cells(self, like: Tensor) -> Tensor:
        """Draw for a (cells, k) tensor: the rows of this process out of the whole batch."""
        whole = torch.randn(self._total, like.shape[1], generator=self._generator, device=like.device)
        return whole[self._start : self._start + len(like)].to(like.dtype)

    def for_genes(self, like: Tensor) -> Tensor:
        """Draw for a (genes, k) tensor: the same on every process."""
        return torch.randn(like.shape, generator=self._generator, device=like.device).to(like.dtype)
