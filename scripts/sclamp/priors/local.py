"""Files of gene priors that lie behind an address or inside an archive, brought to where they can be read."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar, cast

from sclamp.config.gene_priors import FilePrior, TextPrior
from sclamp.core.download import download, is_address, member_of
from sclamp.core.errors import UserError
from sclamp.core.files import sha256

T = TypeVar("T")


def localized(settings: T) -> T:
    """The settings with a local file in place of an address or of a zip archive; others as they are.

    Errors: no such file, another digest than `sha256`, and those of `download` and `member_of`.
    """
    if not isinstance(settings, TextPrior | FilePrior):
        return settings
    key = "table" if isinstance(settings, TextPrior) else "path"
    path = getattr(settings, key)
    if is_address(path):
        local = download(path, settings.sha256 or "", key)
    else:
        local = Path(path)
        _check_digest(local, settings.sha256)
    if settings.member is not None:
        local = member_of(local, settings.member)
    return cast(T, settings.model_copy(update={key: str(local), "sha256": None, "member": None}))


def is_far(settings: TextPrior | FilePrior) -> bool:
    """True where the file must be downloaded or unpacked before its genes are known."""
    path = settings.table if isinstance(settings, TextPrior) else settings.path
    return is_address(path) or settings.member is not None


def _check_digest(path: Path, digest: str | None) -> None:
    if digest is None:
        return
    if not path.is_file():
        raise UserError(f"{path}: no such file." if not path.exists() else f"{path}: a folder, not a file.")
    if (found := sha256(path)) != digest:
        raise UserError(f"{path}: sha256 is {found}, expected {digest}: it is another file, or damaged.")
