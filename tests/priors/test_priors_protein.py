"""Gene priors from proteins, with a tiny ESM-2 checkpoint made here."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sclamp.core.errors import UserError
from sclamp.priors.fasta import read_fasta
from sclamp.priors.vectors import read_vectors

TOKENS = ["<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWCXBUZO", ".", "-", "<null_1>", "<mask>"]
SEQUENCES = {"INS": "MALWMRLLPLLALLALWGPD", "GCG": "MKSIYFVAG", "SST": "MLSCRLQCALAALSIVLALGCVTGAPSDPRLRQFLQKSLA"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import EsmConfig, EsmModel, EsmTokenizer

    folder = tmp_path_factory.mktemp("esm")
    (folder / "vocab.txt").write_text("\n".join(TOKENS))
    EsmTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = EsmConfig(
        vocab_size=len(TOKENS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        pad_token_id=1, mask_token_id=len(TOKENS) - 1, position_embedding_type="rotary", token_dropout=True,
        max_position_embeddings=64,
    )  # fmt: skip
    EsmModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def fasta(path: Path, sequences: dict[str, str]) -> Path:
    path.write_text("".join(f">{name} some words\n{seq[:15]}\n{seq[15:]}\n" for name, seq in sequences.items()))
    return path


def one_by_one(checkpoint: Path, sequence: str) -> np.ndarray:
    """Mean of the last layer over residues, without any of our code: tokens by hand, no padding."""
    import torch
    from transformers import EsmModel

    model = EsmModel.from_pretrained(checkpoint, add_pooling_layer=False).eval()
    tokens = torch.tensor([[0, *(TOKENS.index(letter) for letter in sequence), 2]])
    with torch.no_grad():
        states = model(tokens, attention_mask=torch.ones_like(tokens)).last_hidden_state
    return states[0, 1:-1].mean(0).numpy()


@pytest.mark.parametrize("batch_size", [1, 3])
def test_mean_over_residues(tmp_path: Path, checkpoint: Path, run_script: Callable[..., None], batch_size: int) -> None:
    path = fasta(tmp_path / "p.fasta", SEQUENCES)
    settings = {
        "source": "protein",
        "fasta": str(path),
        "model": str(checkpoint),
        "batch_size": batch_size,
        "max_length": 25,
    }
    outputs = ("--output", tmp_path / "p.parquet", "--sidecar", tmp_path / "p.json", "--cache", tmp_path / "cache")
    run_script("build_gene_prior", settings, *outputs)
    genes = read_vectors(tmp_path / "p.parquet")
    assert list(genes.names.ids) == list(SEQUENCES) and genes.vectors.shape == (3, 16)
    for sequence, vector in zip(SEQUENCES.values(), genes.vectors, strict=True):
        assert np.allclose(vector, one_by_one(checkpoint, sequence[:25]), atol=1e-5)
    sidecar = json.loads((tmp_path / "p.json").read_text())
    assert (sidecar["n"], sidecar["width"], sidecar["n_truncated"]) == (3, 16, 1)


def test_headers_of_uniprot_and_ensembl(tmp_path: Path) -> None:
    path = tmp_path / "p.fa.gz"
    text = ">sp|P01308|INS_HUMAN Insulin OS=Homo sapiens OX=9606 GN=INS PE=1\nMALW\nmrl*\n>tr|X GN=GCG\nMKS\n"
    path.write_bytes(gzip.compress(text.encode()))
    assert read_fasta(path, "GN=") == (["INS", "GCG"], ["MALWMRL", "MKS"])
    assert read_fasta(path, None)[0] == ["sp|P01308|INS_HUMAN", "tr|X"]
    with pytest.raises(
        UserError, match=r"the header of 2 sequences has no word that starts with 'gene_symbol:' \(gene_tag\)"
    ):
        read_fasta(path, "gene_symbol:")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no sequences"),
        ("MALW\n", "no FASTA file: a header that starts with '>' is expected, found 'MALW'"),
        (">INS\n>GCG\nMKS\n", "1 sequences are empty; the first is that of 'INS'"),
        (">INS\nMA1W\n", "the sequence of 'INS' holds ['1'], which are no amino acids"),
        (">\nMALW\n", "the header of 1 sequences is empty"),
        (">INS\nACGTACGT\n>GCG\nGGGAAANT\n", "the sequences look like nucleotides; proteins are expected"),
    ],
)
def test_damaged_fasta(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "p.fasta").write_text(text)
    with pytest.raises(UserError) as caught:
        read_fasta(tmp_path / "p.fasta", None)
    assert message in str(caught.value)


def test_missing_and_truncated_fasta(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.fasta: no such file"):
        read_fasta(tmp_path / "none.fasta", None)
    (tmp_path / "p.fa.gz").write_bytes(gzip.compress(b">A\nMKS\n" * 50)[:30])
    with pytest.raises(UserError, match=r"p\.fa\.gz: damaged, truncated or no text"):
        read_fasta(tmp_path / "p.fa.gz", None)


def test_another_kind_of_checkpoint(tmp_path: Path) -> None:
    from sclamp.priors.model_files import find_model
    from sclamp.priors.protein import ProteinModel

    (tmp_path / "config.json").write_text('{"model_type": "esm"}')
    with pytest.raises(UserError, match="cannot be loaded as an ESM checkpoint"):
        ProteinModel(find_model(str(tmp_path)), 100, "32")
