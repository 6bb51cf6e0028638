"""From the settings of a gene prior to gene vectors: one place that knows which source is read by what."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sclamp.config.gene_priors import FilePrior, GenePrior, ProteinPrior, TextPrior
from sclamp.core.errors import UserError
from sclamp.priors.align import match_to
from sclamp.priors.coverage import likely_cause, some
from sclamp.priors.names import GeneNames
from sclamp.priors.vectors import GeneVectors, repeated


def make_vectors(
    settings: TextPrior | ProteinPrior | FilePrior, wanted: Sequence[GeneNames], cache: Path | None
) -> tuple[GeneVectors, dict[str, Any]]:
    """Vectors of a global gene prior, and facts for its sidecar.

    wanted: genes of data sets; where given, only what matches one of them is embedded or kept. cache: folder of what
    was embedded before, or None.
    """
    if isinstance(settings, FilePrior):
        from sclamp.priors.files import file_vectors

        genes = file_vectors(settings)
        rows = _wanted_rows(settings, genes.names, wanted)
        return GeneVectors(genes.names.take(rows), genes.vectors[rows]), {}
    if isinstance(settings, TextPrior):
        from sclamp.priors.text import read_descriptions, text_vectors

        names, texts = read_descriptions(settings)
        rows = _wanted_rows(settings, names, wanted)
        return text_vectors(settings, names.take(rows), [texts[row] for row in rows], cache)
    from sclamp.priors.fasta import read_fasta
    from sclamp.priors.protein import protein_vectors

    ids, sequences = read_fasta(settings.fasta, settings.gene_tag)
    rows = _wanted_rows(settings, GeneNames(ids), wanted)
    return protein_vectors(settings, GeneNames(ids).take(rows), [sequences[row] for row in rows], cache)


def _wanted_rows(settings: GenePrior, prior: GeneNames, wanted: Sequence[GeneNames]) -> list[int]:
    """Rows of a prior that belong to a gene of some data set; all where none are given."""
    if not wanted:
        return list(range(len(prior)))
    rows = {row for genes in wanted for found in match_to(genes, prior, settings.matching).rows for row in found}
    if not rows:
        raise UserError(
            f"gene prior: none of its {len(prior)} genes ('{prior.ids[0]}', ...) is among the genes that the data sets "
            f"select ('{wanted[0].ids[0]}', ...). {likely_cause(wanted[0], prior)}"
        )
    return sorted(rows)


def note_of_repetitions(names: GeneNames) -> str:
    """A line for the log about genes that occur more than once; empty where none does."""
    twice = repeated(names.ids)
    if not twice:
        return ""
    return f"{len(twice)} genes occur more than once ({some(twice)}); matching.duplicates says what becomes of them."
