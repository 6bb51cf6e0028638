"""Random numbers that are a function of (seed, step) alone.

Nothing has to be saved to resume a training, and several processes that share one batch draw what a single
process would have drawn for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

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
    """Random draws for one step.

    seed, step: name the draws. start, total: this process holds rows start, start+1, ... of a batch of `total` cells.
    """

    def __init__(self, seed: int, step: int, start: int, total: int, device: torch.device | str = "cpu") -> None:
        self._generator = torch.Generator(device=device)
        self._generator.manual_seed(mixed_seed("noise", seed, step))
        self._start, self._total = start, total
        self._names: tuple[int | str, ...] = ("binomial", seed, step)
        self._binomials = 0

    def for_cells(self, like: Tensor) -> Tensor:
        """Standard-normal draws for a (cells, k) tensor: the rows of this process out of the whole batch."""
        whole = torch.randn(self._total, like.shape[1], generator=self._generator, device=like.device)
        return whole[self._start : self._start + len(like)].to(like.dtype)

    def for_genes(self, like: Tensor) -> Tensor:
        """Standard-normal draws for a (genes, k) tensor: the same on every process."""
        return torch.randn(like.shape, generator=self._generator, device=like.device).to(like.dtype)

    def uniform_for_cells(self, like: Tensor) -> Tensor:
        """Like `for_cells`, uniform in [0, 1)."""
        whole = torch.rand(self._total, like.shape[1], generator=self._generator, device=like.device)
        return whole[self._start : self._start + len(like)].to(like.dtype)

    def binomial_for_cells(self, counts: Tensor, share: Tensor) -> Tensor:
        """How many of the counts (cells, k) are kept where each one is with probability `share` (cells, k)."""
        self._binomials += 1
        names = (*self._names, self._binomials)
        return _binomials(counts, share, [(*names, self._start + i) for i in range(len(counts))])


class NoiseOfRows:
    """The draws of `Noise`, but each cell's a function of its position in the data file alone: for fixed validation.

    columns: order in which the draws of a cell are given to the columns of a (cells, len(columns)) tensor, such as the
    rank of each gene's id, so that the genes' order does not matter either.
    """

    def __init__(self, rows: Tensor, columns: Tensor) -> None:
        self._rows, self._columns, self._sorted = rows.tolist(), columns, columns.argsort()
        self._calls = 0

    def for_cells(self, like: Tensor) -> Tensor:
        """See `Noise`."""
        return self._drawn(torch.randn, like)

    def uniform_for_cells(self, like: Tensor) -> Tensor:
        """See `Noise`."""
        return self._drawn(torch.rand, like)

    def binomial_for_cells(self, counts: Tensor, share: Tensor) -> Tensor:
        """See `Noise`; (cells, columns)."""
        n, p = (x.expand_as(counts).index_select(1, self._sorted) for x in (counts, share))
        return _binomials(n, p, self._seeds()).index_select(1, self._columns)

    def _drawn(self, draw: Callable[..., Tensor], like: Tensor) -> Tensor:
        width = like.shape[1]
        lines = [draw(width, generator=_seeded(*names)) for names in self._seeds()]
        values = torch.stack(lines).to(like.device, like.dtype)
        return values.index_select(1, self._columns) if width == len(self._columns) else values

    def _seeds(self) -> list[tuple[int | str, ...]]:
        self._calls += 1
        return [("row", self._calls, row) for row in self._rows]


def _binomials(counts: Tensor, share: Tensor, seeds: Sequence[tuple[int | str, ...]]) -> Tensor:
    """A generator for each row: how many numbers a binomial draw takes depends on the counts.

    Drawn on the CPU, where a generator costs next to nothing, and for counts above zero only.
    """
    flat, p = counts.cpu(), share.expand_as(counts).cpu()
    where = flat.nonzero(as_tuple=True)
    sizes = (flat != 0).sum(1).tolist()
    n, q = flat[where].split(sizes), p[where].split(sizes)
    drawn = [torch.binomial(a, b, generator=_seeded(*names)) for a, b, names in zip(n, q, seeds, strict=True)]
    kept = torch.zeros_like(flat).index_put(where, torch.cat(drawn))
    return kept.to(counts.device)


def _seeded(*names: int | str) -> torch.Generator:
    """A generator on the CPU: the same numbers on every kind of device."""
    generator = torch.Generator()
    generator.manual_seed(mixed_seed(*names))
    return generator
