"""Gene priors from descriptions of genes, by a sentence-transformers model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sclamp.config.gene_priors import TextPrior
from sclamp.core.errors import UserError
from sclamp.priors.cache import VectorCache
from sclamp.priors.embed import embed_once, identity
from sclamp.priors.local import localized
from sclamp.priors.model_files import ModelFiles, find_model
from sclamp.priors.names import GeneNames, names_from, text_column
from sclamp.priors.tables import need_columns, read_frame, read_texts, suffix
from sclamp.priors.vectors import GeneVectors


def read_descriptions(settings: TextPrior) -> tuple[GeneNames, list[str]]:
    """Names and texts of the table's genes. Errors: missing columns, rows without identifier or text."""
    settings = localized(settings)
    if suffix(settings.table) == ".json":
        texts_of = read_texts(settings.table)
        return GeneNames(list(texts_of)), list(texts_of.values())
    columns = {"id_column": settings.id_column, "text_column": settings.text_column}
    table = read_frame(settings.table, text=(settings.id_column, settings.text_column))
    need_columns(settings.table, list(table.columns), columns)
    names, texts = names_from(table, settings.id_column), text_column(table[settings.text_column])
    if not texts:
        raise UserError(f"{settings.table}: holds no genes.")
    problems = []
    unnamed = [row for row, name in enumerate(names.ids) if not name]
    if unnamed:
        message = f"{len(unnamed)} rows have no gene identifier; the first is row {unnamed[0] + 1}"
        problems.append(f"{settings.table}: column '{settings.id_column}': {message}.")
    silent = [name for name, text in zip(names.ids, texts, strict=True) if not text]
    if silent:
        message = f"{len(silent)} genes have no text ({', '.join(map(repr, silent[:5]))}); leave these rows out"
        problems.append(f"{settings.table}: column '{settings.text_column}': {message}.")
    if problems:
        raise UserError(*problems)
    return names, texts


def text_vectors(
    settings: TextPrior, names: GeneNames, texts: Sequence[str], cache_folder: Path | None
) -> tuple[GeneVectors, dict[str, Any]]:
    """Embed descriptions: gene vectors, and facts for the sidecar (model, digest, distinct and truncated texts)."""
    model = find_model(settings.model)
    key = identity(kind="text", model=model.digest, max_tokens=settings.max_tokens, precision=settings.precision)
    cache = VectorCache(cache_folder, key)
    vectors, cut = embed_once(texts, lambda: _load(model, settings), cache, settings.batch_size, "texts")
    facts = {"model": settings.model, "model_origin": model.origin, "model_sha256": model.digest}
    return GeneVectors(names, vectors), {**facts, "n_distinct": len(set(texts)), "n_truncated": cut}


def _load(model: ModelFiles, settings: TextPrior) -> SentenceModel:
    return SentenceModel(model, settings.max_tokens, settings.precision)


class SentenceModel:
    """A sentence-transformers model from a local folder, on a GPU where there is one."""

    def __init__(self, model: ModelFiles, max_tokens: int | None, precision: str) -> None:
        import torch
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        logging.disable_progress_bar()
        types = {"dtype": torch.bfloat16 if precision == "bf16" else torch.float32}
        try:
            self._model = SentenceTransformer(str(model.folder), model_kwargs=types, local_files_only=True)
        except Exception as error:  # a damaged folder can raise anything, from TypeError to safetensors' own
            reason = f"{type(error).__name__}: {error}"
            raise UserError(f"model: '{model.folder}' cannot be loaded by sentence-transformers ({reason}).") from error
        own = self._model.max_seq_length
        self.max_tokens = min(limit for limit in (own, max_tokens, 1_000_000) if limit)
        self._model.max_seq_length = self.max_tokens

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special ones included."""
        encoded = self._model.tokenizer(list(texts), truncation=False, verbose=False, return_attention_mask=False)
        return [len(ids) for ids in encoded["input_ids"]]

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Embeddings as the model defines them (pooling and normalisation included), (n, k) float32."""
        vectors = self._model.encode(
            list(texts), batch_size=len(texts), show_progress_bar=False, convert_to_numpy=False, convert_to_tensor=True
        )
        return vectors.float().cpu().numpy()
