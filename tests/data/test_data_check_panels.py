"""Checks of gene panels: their sizes, what they share, what is left of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import anndata
import numpy as np

from sclamp.config.datasets import Dataset
from sclamp.data.check import Report, check_dataset


def checked(paths: Sequence[str], join: str = "outer") -> Report:
    settings = {"path": tuple(paths), "join": join, "quality": {"min_cells": 0}}
    return check_dataset(Dataset.model_validate(settings), {}, {})


def part(cells: slice, genes: Sequence[int]) -> Callable[[anndata.AnnData], anndata.AnnData]:
    return lambda data: data[cells][:, list(genes)].copy()


def test_sizes_of_panels_are_said(raw_file, said):
    parts = {
        "one": part(slice(0, 30), range(70)),
        "two": part(slice(30, 50), range(10, 70)),
        "three": part(slice(50, 65), range(10, 70)),  # the panel of `two`
        "four": part(slice(65, 90), range(60)),
    }
    report = checked([str(raw_file(change, f"{name}.h5ad")) for name, change in parts.items()])
    sizes = (
        "3 gene panels: 'one' 70 genes in 30 cells, 'two' 60 genes in 35 cells, 'four' 60 genes in 25 cells; 50 genes"
    )
    assert not report.failed and sizes in "\n".join(said(report, "ok"))
    assert not any("panel" in message for message in said(report, "warning"))


def test_panels_without_a_cell_that_passes_are_a_warning(raw_file, said):
    paths = [str(raw_file(None, "a.h5ad")), str(raw_file(lambda data: data[:, :51].copy(), "b.h5ad"))]
    seen = np.sort((anndata.read_h5ad(paths[1]).X > 0).sum(1).A1)[-1]
    settings = {"path": tuple(paths), "join": "outer", "quality": {"min_cells": 0, "min_genes": int(seen) + 1}}
    report = check_dataset(Dataset.model_validate(settings), {}, {})
    warned = "\n".join(said(report, "warning"))
    assert (
        not report.failed and "no cell of the gene panels 'b' (1 of 2) passes; cells are judged on the genes" in warned
    )


def test_panels_that_nothing_links_are_an_error(raw_file, said):
    def other(data: anndata.AnnData) -> None:
        data.var_names = [f"mouse{i}" for i in range(60)] + list(data.var_names[60:])

    paths = [str(raw_file(None, "a.h5ad")), str(raw_file(other, "b.h5ad"))]
    errors = "\n".join(said(checked(paths), "error"))
    assert "the gene panels 'b' (1 of 2) share at most 10 genes with the rest ('a' and what is linked" in errors
    assert "at least 50 are needed to train on both; are the gene ids of one kind (gene_ids)?" in errors


def test_panels_linked_through_a_third_are_a_warning(raw_file, said):
    def wide(data: anndata.AnnData) -> anndata.AnnData:
        more = data[:, 1:].copy()
        more.var_names = [f"extra{i}" for i in range(69)]
        return anndata.concat([data, more], axis="var", merge="same")

    def only_more(data: anndata.AnnData) -> anndata.AnnData:
        return wide(data)[:, 69:].copy()

    paths = [str(raw_file(change, f"{n}.h5ad")) for n, change in zip("abc", (None, wide, only_more), strict=True)]
    report = checked(paths)
    assert not said(report, "error")
    assert "'a' and 'c' (1 of 70 genes); their cells may not mix" in "\n".join(said(report, "warning"))


def test_an_inner_join_that_loses_most_genes_is_a_warning(raw_file, said):
    def renamed(n: int) -> Callable[[anndata.AnnData], None]:
        def change(data: anndata.AnnData) -> None:
            data.var_names = [f"b{i}" for i in range(n)] + list(data.var_names[n:])

        return change

    first = str(raw_file(None, "a.h5ad"))
    few, most = (str(raw_file(renamed(n), f"b{n}.h5ad")) for n in (40, 10))
    warned = "\n".join(said(checked([first, few], "inner"), "warning"))
    assert "the 2 files share 30 genes; the smallest, 'a', has 70. The others are left out; join: outer keeps" in warned
    assert "the 2 files share 60 genes; the smallest, 'a', has 70" in "\n".join(
        said(checked([first, most], "inner"), "ok")
    )
