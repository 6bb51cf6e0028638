"""Damaged counts of the user, in every layout: what comes of it is a message that names the file, or the truth."""

from __future__ import annotations

from pathlib import Path

import pytest
from damage import Case, try_damages
from small_files import settings, write_h5ad, write_tenx, write_tenx_folder


def prepare(data, folder):
    return "prepare_cells.py", "--settings", settings(data), "--output", folder / "cells.h5ad"


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
def test_damaged_h5ad(trials, tmp_path, form, compression):
    original = write_h5ad(tmp_path / "user.h5ad", form, compression)
    case = Case(f"{form} {compression or 'plain'} .h5ad", original, prepare, ("cells.h5ad",))
    try_damages(case, trials, tmp_path, trials.number(2, 12), trials.number(8, 150), others=form == "csr")


def test_damaged_tenx(trials, tmp_path):
    case = Case("10x .h5", write_tenx(tmp_path / "user.h5"), prepare, ("cells.h5ad",))

    def command(data, folder):
        plain = {"label": None, "batch": None}
        return "prepare_cells.py", "--settings", settings(data, **plain), "--output", folder / "cells.h5ad"

    case.command = command
    try_damages(case, trials, tmp_path, trials.number(2, 12), trials.number(8, 150))


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("part", ["matrix.mtx", "barcodes.tsv", "features.tsv"])
def test_damaged_tenx_folder(trials, tmp_path, part, zipped):
    folder = write_tenx_folder(tmp_path / "tenx", zipped)
    part = f"{part}.gz" if zipped else part

    def command(damaged: Path, out: Path):
        if damaged.parent != folder:  # a copy of the folder with the damaged part in it
            for file in folder.iterdir():
                if file.name != part:
                    (damaged.parent / file.name).write_bytes(file.read_bytes())
        plain = {"label": None, "batch": None}
        return "prepare_cells.py", "--settings", settings(damaged.parent, **plain), "--output", out / "cells.h5ad"

    case = Case(f"10x folder, {part}", folder / part, command, ("cells.h5ad",), checked=zipped)
    case.named = str(tmp_path / "damaged")  # of numbers that are read well the message names the folder
    try_damages(case, trials, tmp_path, trials.number(2, 12), trials.number(4, 80))
