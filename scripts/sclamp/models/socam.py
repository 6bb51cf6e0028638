"""Cell types over an ontology: every term has the probability of the terms below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, nll_loss

from sclamp.config.classifiers import SOCAMSettings
from sclamp.models.classifier import LinearClassifier, check_labels
from sclamp.ontology.active import ActiveTerms, active_terms
from sclamp.ontology.labels import map_labels
from sclamp.ontology.terms import Ontology, cell_ontology
from sclamp.types import DataSpec


class SOCAM(LinearClassifier):
    """Probabilities of the terms of the labels and of all their ancestors (mode `socam`).

    A softmax of the logits gives each active term a probability of its own; the probability of a term is the sum over
    itself and all its descendants, so that of the root is 1. Labels may be inner terms: a cell of such a label may be
    of any term below. After Magre et al. 2026, doi 10.64898/2026.01.13.699356; n times the loss `reference` is that of
    Cellarium ML's SOCAM. The embedding of a cell is its logits.
    """

    settings: SOCAMSettings
    above: Tensor
    below: Tensor
    leaves: Tensor
    n_ancestors: Tensor
    shares: Tensor
    ontology_digest: Tensor

    def __init__(self, settings: SOCAMSettings, data: DataSpec, ontology: Ontology | None = None) -> None:
        """ontology: the Cell Ontology unless given. ValueError: labels without a term, or of a single one."""
        check_labels("socam", data.labels)
        ontology = ontology or cell_ontology()
        terms = _terms(settings, data, ontology)
        self._meanings = [_meaning(label, terms, ontology) for label in terms]
        self.active: ActiveTerms = active_terms(ontology, terms.values())
        where = {term: i for i, term in enumerate(self.active.terms)}
        targets = [where[terms[label]] if label in terms else -1 for label in data.labels]
        super().__init__(settings, data, targets, len(self.active.terms))
        tables = {
            "above": self.active.above,
            "below": self.active.below,
            "leaves": self.active.leaves,
            "n_ancestors": self.active.n_ancestors,
            "shares": self.active.shares(targets),
        }
        for name, table in tables.items():
            self.register_buffer(name, torch.from_numpy(table), persistent=False)
        digest = bytearray.fromhex(ontology.digest_of(self.active.terms))
        self.register_buffer("ontology_digest", torch.frombuffer(digest, dtype=torch.uint8).clone())

    def remarks(self) -> list[str]:
        """Which term each label means, and which other labels it includes."""
        return self._meanings

    def warm_start(self, source: Mapping[str, Tensor]) -> list[str]:
        """See `GradientModel`; ValueError: a model of other terms."""
        digest = source.get("ontology_digest")
        if digest is None or not torch.equal(digest, self.ontology_digest):
            raise ValueError("it does not distinguish the same terms of the Cell Ontology")
        return super().warm_start(source)

    def counts_of(self, cells: Tensor) -> Tensor:
        """Training cells at a term or below it."""
        return torch.zeros_like(cells).index_add(0, self.above, cells[self.below])

    def log_probabilities(self, logits: Tensor) -> Tensor:
        """Log probability of each active term, (cells, terms); exclusive ones without `propagate`."""
        if not self.settings.propagate:
            return logits.log_softmax(1)
        return log_sum_below(logits, self.above, self.below) - logits.logsumexp(1, keepdim=True)

    def errors(self, logits: Tensor, target: Tensor) -> Tensor:
        """See `LinearClassifier`; -log P(term of the label), for `reference` plus log(sum of P over all terms)."""
        found = self.log_probabilities(logits)
        if self.settings.loss == "reference":
            return cross_entropy(found, target, reduction="none")
        return nll_loss(found, target, reduction="none")

    def class_probabilities(self, logits: Tensor) -> Tensor:
        """See `LinearClassifier`.

        Every term's own probability goes to the most specific labels that include it; what belongs to no label is left
        out and the rest scaled to 1. So a label loses to one below it only where the cell is likely to be of that one.
        """
        return torch.where(self.shares.sum(1) > 0, logits, -torch.inf).softmax(1) @ self.shares

    def predict_from(self, logits: Tensor) -> dict[str, Tensor]:
        """Also term_probability (cells, terms), the likeliest leaf, the likeliest leaves (k), and the ancestor.

        The ancestor is the most specific term (that with most ancestors; of equal ones the likeliest) whose probability
        is at least `confidence`, -1 where none is so probable.
        """
        probability = self.log_probabilities(logits).exp().clamp(max=1)
        top = probability[:, self.leaves].topk(min(self.settings.top_k, len(self.leaves)), 1)
        rank = torch.where(probability >= self.settings.confidence, self.n_ancestors + 0.5 * probability, -1.0)
        best = rank.max(1)
        return {
            **super().predict_from(logits),
            "term_probability": probability,
            "leaf": self.leaves[top.indices[:, 0]],
            "leaf_probability": top.values[:, 0],
            "top_leaf": self.leaves[top.indices],
            "top_leaf_probability": top.values,
            "ancestor": torch.where(best.values >= 0, best.indices, -1),
            "ancestor_probability": probability.gather(1, best.indices.unsqueeze(1)).squeeze(1) * (best.values >= 0),
        }

    def prediction_columns(self) -> dict[str, tuple[str, ...]]:
        """See `Model`; terms by their ids."""
        of_terms = ("term_probability", "leaf", "top_leaf", "ancestor")
        return {**super().prediction_columns(), **dict.fromkeys(of_terms, self.active.terms)}

    def _load_from_state_dict(self, state: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        digest = state.get(f"{prefix}ontology_digest")
        if digest is not None and not torch.equal(digest.cpu(), self.ontology_digest.cpu()):
            errors: list[str] = rest[-1]
            errors.append("its terms or their hierarchy are not those of the installed Cell Ontology")
        super()._load_from_state_dict(state, prefix, *rest)


def log_sum_below(logits: Tensor, above: Tensor, below: Tensor) -> Tensor:
    """log(sum of exp(logits) over the terms that each term includes), (cells, terms) -> (cells, terms).

    above, below (pairs,): see `ActiveTerms`. The largest logit is taken out of each sum, so that a sum of any size has
    a finite logarithm and gradient.
    """
    parts = logits.index_select(1, below)
    into = above.expand_as(parts)
    largest = torch.full_like(logits, -torch.inf).scatter_reduce(1, into, parts.detach(), "amax")
    sums = torch.zeros_like(logits).index_add(1, above, (parts - largest.index_select(1, above)).exp())
    return largest + sums.log()


def _meaning(label: str, terms: Mapping[str, str], ontology: Ontology) -> str:
    """One line: the term of a label, and the labels that are kinds of it or share it."""
    own = terms[label]
    shared = [other for other, term in terms.items() if term == own and other != label]
    below = [other for other, term in terms.items() if own in ontology.ancestors(term)]
    line = f"label '{label}': {own} ({ontology.name(own)})"
    if shared:
        line += f"; cannot be told from {_quoted(shared)}, of the same term"
    if below:
        line += f"; includes {_quoted(below)}, so that its cells may be predicted as such"
    return f"{line}\n"


def _quoted(labels: Sequence[str]) -> str:
    return ", ".join(f"'{label}'" for label in labels)


def _terms(settings: SOCAMSettings, data: DataSpec, ontology: Ontology) -> dict[str, str]:
    """The term of each label that has one."""
    mapped = map_labels(data.labels, settings.label_terms, ontology)
    if mapped.problems:
        found = "\n".join(f"  {problem}" for problem in mapped.problems.values())
        raise ValueError(
            f"label_terms: {len(mapped.problems)} of {len(data.labels)} labels have no term yet; give each its CL id, "
            f"or null to leave its cells unlabelled:\n{found}"
        )
    if len(set(mapped.terms.values())) < 2:
        listed = ", ".join(f"'{label}' is {term}" for label, term in mapped.terms.items()) or "none has a term"
        raise ValueError(f"label_terms: labels of at least two terms are needed; {listed}")
    return mapped.terms
