"""Which genes a gene prior has, without its vectors: what a check can match before anything is embedded."""

from __future__ import annotations

from pathlib import Path

from sclamp.config.gene_priors import AnyGenePrior, FilePrior, ProteinPrior, TextPrior
from sclamp.core.errors import UserError
from sclamp.priors.local import is_far
from sclamp.priors.names import OTHER_IDS, GeneNames, names_from
from sclamp.priors.tables import PARQUET, SEPARATORS, need_columns, read_frame, read_header, read_texts, suffix


def prior_names(settings: AnyGenePrior) -> GeneNames | None:
    """Names of the genes of a prior, read from its table, sequences or vocabulary.

    None where they are not known without downloading the file or reading all of it (a pickle), and for priors of a
    data set's own genes and controls. Errors: those of the source (no such file, missing column, damaged file).
    """
    if isinstance(settings, TextPrior | FilePrior) and is_far(settings):
        return None
    if isinstance(settings, TextPrior) and suffix(settings.table) == ".json":
        return GeneNames(list(read_texts(settings.table)))
    if isinstance(settings, TextPrior):
        return _of_table(settings.table, settings.id_column)
    if isinstance(settings, ProteinPrior):
        from sclamp.priors.fasta import read_fasta

        return GeneNames(read_fasta(settings.fasta, settings.gene_tag)[0])
    return _of_file(settings) if isinstance(settings, FilePrior) else None


def _of_table(path: str, id_column: str) -> GeneNames:
    need_columns(path, read_header(path), {"id_column": id_column})
    table = read_frame(path, text=(id_column,), only=(id_column, *OTHER_IDS))
    return names_from(table, id_column)


def _of_file(settings: FilePrior) -> GeneNames | None:
    kind = suffix(settings.path)
    if not Path(settings.path).is_file():
        raise UserError(f"{settings.path}: no such file.")
    if kind in {*SEPARATORS, *PARQUET}:
        return _of_table(settings.path, settings.id_column)
    if kind == ".npz":
        from sclamp.priors.files import read_npz

        return GeneNames([str(name) for name in read_npz(settings.path, {"id_column": settings.id_column})[0]])
    if settings.vocabulary is not None:
        from sclamp.priors.checkpoints import read_vocabulary

        return GeneNames(list(read_vocabulary(settings.vocabulary)))
    return None
