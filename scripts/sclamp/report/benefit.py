"""What the true gene priors add to a model, compared with the same model on controls of them."""

from __future__ import annotations

from typing import NamedTuple

from sclamp.plot.scoreboard import SCOPES, Board, Column
from sclamp.report.comparisons import Comparisons, Gain
from sclamp.report.plan import Plan
from sclamp.report.words import counted, joined

CONTROLS = {
    "shuffled": "the same vectors on the wrong genes",
    "gaussian": "Gaussian vectors",
    "onehot": "one-hot vectors",
    "none": "no gene prior",
}
SHOWN = (
    ("integration", "total"), ("integration", "bio"), ("integration", "batch"), ("probe", "label_accuracy"),
    ("reconstruction", "pearson"), ("imputation", "pearson"), ("genes", "marker_auroc"),
    ("genes", "coexpression_spearman"), ("left_out_genes", "pearson_gene"),
)  # fmt: skip
"""Scores of the table, where they exist; all others are in the long list."""


class Pair(NamedTuple):
    """A model and one control of its priors. gains: by position of the board's column; None: not compared."""

    model: str
    control: str
    words: str
    gains: list[Gain | None]


class Benefit(NamedTuple):
    """What priors add on one data set: sentences, the columns of the short table, and all pairs.

    columns: positions of the columns of the short table.
    """

    dataset: str
    scope: str
    sentences: list[str]
    scores: list[Column]
    columns: list[int]
    pairs: list[Pair]
    one_seed: bool


def benefit(plan: Plan, board: Board, tests: Comparisons) -> Benefit | None:
    """Gather the gains of one board; None where no prior control was compared."""
    pairs = []
    for control in plan.prior_controls:
        gains = [
            None if column.shown.control else tests.gain(column, control.of, control.model, "prior")
            for column in board.columns
        ]
        if any(gains):
            words = CONTROLS.get(control.control, control.control)
            pairs.append(Pair(control.of, control.control, words, gains))
    if not pairs:
        return None
    order = list(dict.fromkeys(pair.model for pair in pairs))
    pairs.sort(key=lambda pair: order.index(pair.model))
    shown = [i for i, column in enumerate(board.columns) if (column.task, column.metric) in SHOWN]
    shown = [i for i in shown if any(pair.gains[i] for pair in pairs)]
    one_seed = all(gain.seeds == 1 for pair in pairs for gain in pair.gains if gain)
    scope = SCOPES.get(board.scope, board.scope)
    return Benefit(board.dataset, scope, _sentences(board, pairs), board.columns, shown, pairs, one_seed)


def _sentences(board: Board, pairs: list[Pair]) -> list[str]:
    """One sentence per model: the ranking score first, then on how many others the true prior is better."""
    return [
        f"{model}: the true gene priors change {'; and '.join(_said(board, p) for p in pairs if p.model == model)}."
        for model in dict.fromkeys(pair.model for pair in pairs)
    ]


def _said(board: Board, pair: Pair) -> str:
    usual = [i for i, column in enumerate(board.columns) if not column.shown.extra or i == board.ranking]
    found = [(i, gain) for i in usual if (gain := pair.gains[i]) is not None]
    if not found:
        return f"nothing that was compared with {pair.words}"
    at, gain = next(((i, g) for i, g in found if i == board.ranking), found[0])
    title, than = board.columns[at].shown.title, f"against {pair.words}"
    beyond = {True: "beyond the noise", False: "within the noise", None: "not tested"}[gain.beyond]
    if gain.seeds < 2 and not gain.beyond:  # the noise of training is unknown, whatever the interval
        beyond = "no verdict from one seed"
    others = [other.verdict for i, other in found if i != at and other.beyond is not None]
    counts = [f"{word} on {others.count(word)}" for word in ("better", "worse") if word in others]
    more = f"; among {counted(len(others), 'other score')} {joined(counts) or 'none differs'}" if others else ""
    return f"{title} by {gain.words} {than} ({beyond}{more})"
