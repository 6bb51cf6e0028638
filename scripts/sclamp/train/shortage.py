"""When memory runs out: how that is recognised, which models can do a step in parts, and what to advise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from sclamp.config.base import TrainingSettings
from sclamp.core.errors import UserError
from sclamp.models.base import GradientModel

WORDS = ("out of memory", "can't allocate memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED", "bad_alloc")
"""What torch says in a RuntimeError that has no class of its own, as on the CPU."""
ADVICE = (
    "a smaller batch_size, precision: bf16, fewer genes (gene_selections), smaller hidden_dims, or one training per "
    "GPU (resources: {jobs_per_gpu: 1})"
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, of a GPU or of this machine."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in WORDS)


def in_parts(rows: np.ndarray, parts: int) -> list[np.ndarray]:
    """Rows cut into so many parts of nearly equal size, none empty unless all are."""
    return np.array_split(rows, max(1, min(parts, len(rows))))


def whole_batch_because(model: GradientModel) -> str | None:
    """Why a step cannot be done in parts, or None where the parts' gradients add up to those of the whole batch."""
    if model.loss_needs_whole_batch:
        return f"the loss of mode '{model.settings.mode}' compares the cells of a batch with each other"
    for name, module in model.named_modules():
        noting = any(buffer.endswith("running_mean") for buffer, _ in module.named_buffers(recurse=False))
        if noting and module.training:
            return f"layer '{name}' ({type(module).__name__}) takes statistics over the whole batch"
    return None


def more_parts(error: BaseException, model: GradientModel, settings: TrainingSettings, cells: int, parts: int) -> int:
    """Twice the parts for a batch of `cells` cells that ran out of memory, in training mode.

    Raises any other error again; `UserError` where the model or the settings allow no parts, or none are left.
    """
    if not is_out_of_memory(error):
        raise error
    at_once = -(-cells // parts)
    if settings.out_of_memory == "stop":
        why = "`out_of_memory: accumulate` would do it in parts"
        why = f"it cannot be done in parts: {reason}" if (reason := whole_batch_because(model)) else why
    elif reason := whole_batch_because(model):
        why = f"it cannot be done in parts: {reason}"
    elif at_once < 2:
        why = "a single cell is too much"
    else:
        return min(2 * parts, cells)
    raise UserError(f"{ran_out(error)} A step had {at_once} cells at once; {why}. What helps: {ADVICE}.") from error


def ran_out(error: BaseException) -> str:
    """The first sentence of a message."""
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return f"memory: there was too little ({first.rstrip('.')})."


@contextmanager
def shortage_in_words() -> Iterator[None]:
    """Turn an error by a shortage of memory into a `UserError` with advice."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(f"{ran_out(error)} What helps: {ADVICE}.") from error
