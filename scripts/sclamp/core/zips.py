"""Zip files that hold tensors: torch writes a checksum for each part, and does not look at it."""

from __future__ import annotations

import zipfile
from pathlib import Path


def check_sums(path: str | Path) -> None:
    """Compare each part of a zip file of torch with its checksum; nothing is unpacked that could swell.

    Errors: `zipfile.BadZipFile` for what is no zip file; `ValueError` for a part that does not fit, or is compressed.
    """
    with zipfile.ZipFile(path) as archive:
        if packed := [part.filename for part in archive.infolist() if part.compress_type != zipfile.ZIP_STORED]:
            raise ValueError(f"{packed[0]} is compressed, which torch never does")
        if folders := [part.filename for part in archive.infolist() if part.external_attr & 0x10]:
            raise ValueError(f"{folders[0]} is marked as a folder, which torch would take for an empty part")
        if sum(part.file_size for part in archive.infolist()) > Path(path).stat().st_size:
            raise ValueError("its parts are larger together than the file")
        if (odd := archive.testzip()) is not None:
            raise ValueError(f"{odd} does not fit its checksum: the file is damaged")
