"""Reading protein sequences."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from sclamp.core.errors import UserError

AMINO_ACIDS = frozenset("ACDEFGHIKLMNPQRSTVWYXBZUO")
"""Letters that ESM-2 knows: the twenty, and X, B, Z, U, O."""


def read_fasta(path: str | Path, gene_tag: str | None) -> tuple[list[str], list[str]]:
    """Genes and sequences of a FASTA file (may be gzipped); a closing stop (*) is left out.

    gene_tag: what stands before the gene's name in a header ("GN=" in UniProt's, "gene_symbol:" in Ensembl's); None
    takes the header's first word. Errors, all at once: no such file, text before the first header, headers without a
    gene, empty sequences, letters that are no amino acids, nucleotides.
    """
    genes: list[str] = []
    sequences: list[str] = []
    for line in _lines(Path(path)):
        if line.startswith(">"):
            genes.append(_gene(line[1:], gene_tag))
            sequences.append("")
        elif line and not sequences:
            raise UserError(f"{path}: no FASTA file: a header that starts with '>' is expected, found '{line[:30]}'.")
        elif line:
            sequences[-1] += line.upper()
    sequences = [sequence.removesuffix("*") for sequence in sequences]
    problems = _problems(genes, sequences, gene_tag)
    if problems:
        raise UserError(*(f"{path}: {problem}" for problem in problems))
    return genes, sequences


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise UserError(f"{path}: no such file.")
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        return [line.strip() for line in data.decode().splitlines()]
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: damaged, truncated or no text ({error}).") from error


def _gene(header: str, gene_tag: str | None) -> str:
    words = header.split()
    if gene_tag is None:
        return words[0] if words else ""
    return next((word.removeprefix(gene_tag) for word in words if word.startswith(gene_tag)), "")


def _problems(genes: list[str], sequences: list[str], gene_tag: str | None) -> list[str]:
    if not genes:
        return ["holds no sequences."]
    problems = []
    unnamed = sum(not gene for gene in genes)
    if unnamed:
        where = "is empty" if gene_tag is None else f"has no word that starts with '{gene_tag}' (gene_tag)"
        problems.append(f"the header of {unnamed} sequences {where}.")
    empty = [gene for gene, sequence in zip(genes, sequences, strict=True) if not sequence]
    if empty:
        problems.append(f"{len(empty)} sequences are empty; the first is that of '{empty[0]}'.")
    for gene, sequence in zip(genes, sequences, strict=True):
        if strange := set(sequence) - AMINO_ACIDS:
            problems.append(f"the sequence of '{gene}' holds {sorted(strange)}, which are no amino acids.")
            break
    if sequences and not set("".join(sequences)) - set("ACGTUN"):
        problems.append("the sequences look like nucleotides; proteins are expected.")
    return problems
