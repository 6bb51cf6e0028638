"""Gene priors from protein sequences, by an ESM-2 checkpoint: hidden states of the last layer, mean over residues."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sclamp.config.gene_priors import ProteinPrior
from sclamp.core.errors import UserError
from sclamp.priors.cache import VectorCache
from sclamp.priors.embed import embed_once, identity
from sclamp.priors.model_files import ModelFiles, find_model
from sclamp.priors.names import GeneNames
from sclamp.priors.vectors import GeneVectors

SPECIAL_TOKENS = 2
"""ESM-2 reads <cls> before and <eos> after the residues."""


def protein_vectors(
    settings: ProteinPrior, names: GeneNames, sequences: Sequence[str], cache_folder: Path | None
) -> tuple[GeneVectors, dict[str, Any]]:
    """Embed sequences: gene vectors, and facts for the sidecar (model, digest, distinct and truncated sequences)."""
    model = find_model(settings.model)
    key = identity(kind="protein", model=model.digest, max_length=settings.max_length, precision=settings.precision)
    cache = VectorCache(cache_folder, key)
    vectors, cut = embed_once(sequences, lambda: _load(model, settings), cache, settings.batch_size, "sequences")
    facts = {"model": settings.model, "model_origin": model.origin, "model_sha256": model.digest}
    return GeneVectors(names, vectors), {**facts, "n_distinct": len(set(sequences)), "n_truncated": cut}


def _load(model: ModelFiles, settings: ProteinPrior) -> ProteinModel:
    return ProteinModel(model, settings.max_length, settings.precision)


class ProteinModel:
    """An ESM-2 checkpoint in a local folder (transformers), on a GPU where there is one."""

    def __init__(self, model: ModelFiles, max_length: int, precision: str) -> None:
        import torch
        from transformers import AutoTokenizer, EsmModel
        from transformers.utils import logging

        logging.disable_progress_bar()
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self.max_tokens = max_length + SPECIAL_TOKENS
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(model.folder, local_files_only=True)
            loaded = EsmModel.from_pretrained(model.folder, add_pooling_layer=False, dtype=dtype, local_files_only=True)
        except Exception as error:  # a damaged folder can raise anything, from TypeError to safetensors' own
            reason = f"{type(error).__name__}: {error}"
            raise UserError(f"model: '{model.folder}' cannot be loaded as an ESM checkpoint ({reason}).") from error
        self._model = loaded.eval().to(self._device)

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each sequence: one a residue, and the special ones."""
        return [len(text) + SPECIAL_TOKENS for text in texts]

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Mean over residues, special tokens and padding left out, (n, k) float32."""
        import torch

        encoded = self._tokenizer(
            list(texts), truncation=True, max_length=self.max_tokens, padding=True,
            return_special_tokens_mask=True, return_tensors="pt",
        ).to(self._device)  # fmt: skip
        residues = 1 - encoded.pop("special_tokens_mask")
        with torch.inference_mode():
            states = self._model(**encoded).last_hidden_state.float()
        weights = (residues * encoded["attention_mask"]).unsqueeze(-1).float()
        return ((states * weights).sum(1) / weights.sum(1)).cpu().numpy()
