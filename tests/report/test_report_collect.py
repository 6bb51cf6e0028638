"""What the report gathers: plan, progress, failures, cost, coverage, cards, verdicts."""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from sclamp.core.errors import UserError
from sclamp.core.files import write_table
from sclamp.report import cost, coverage, datasets, origins, progress, scores, training
from sclamp.report.images import Album
from sclamp.report.plan import Plan, read_plan


def test_a_plan_knows_runs_and_chains(results: Plan) -> None:
    assert [(r.model, r.seed) for r in results.runs("pca", "direct")] == [
        ("pca", 1),
        ("pca", 2),
        ("direct", 1),
        ("direct", 2),
    ]
    assert results.chain("direct") == ["phase", "direct"]
    assert results.chain("pca") == ["pca"]
    assert results.scored == ["pca", "direct"]


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("{nonsense", ["not valid JSON"]),
        ("no/such/file.json", ["neither JSON nor an existing file"]),
        (
            '{"results": 3, "models": {}}',
            ["'datasets' is missing", "'seeds' is missing", "'results' has the wrong kind (int)"],
        ),
        ('{"results": "r", "datasets": ["a"], "models": {}, "seeds": [1]}', ["at least one model and one seed"]),
    ],
)
def test_a_bad_plan_is_explained(text: str, messages: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        read_plan(text)
    assert len(caught.value.problems) == len(messages)
    for problem, message in zip(caught.value.problems, messages, strict=True):
        assert message in problem


def test_a_plan_may_be_a_file(tmp_path: Path, plan_of: Callable[..., dict[str, Any]]) -> None:
    (tmp_path / "plan.json").write_text(json.dumps(plan_of(tmp_path)))
    assert read_plan(str(tmp_path / "plan.json")).seeds == (1, 2)


def test_only_the_failed_run_is_incomplete(results: Plan) -> None:
    lost = [state for state in progress.run_states(results) if state.missing]
    assert [(s.run.model, s.run.seed) for s in lost] == [("direct", 2)]
    assert lost[0].missing[0] == "training" and "integration scores" in lost[0].missing
    assert progress.missing_files(results) == []


def test_a_run_that_has_its_ends_is_complete_without_what_lies_between(results: Plan) -> None:
    for name in ("model.pt", "neighbors.parquet"):
        (results.run("pancreas", "pca", 1).folder / name).unlink()
    assert [s.run.model for s in progress.run_states(results) if s.missing] == ["direct"]
    (results.run("pancreas", "control_random", 1).folder / "scores/integration.parquet").unlink()
    assert [s.run.model for s in progress.run_states(results) if s.missing] == ["direct", "control_random"]


def test_missing_results_of_a_dataset_are_named(results: Plan) -> None:
    (results.folder("pancreas") / "cells.h5ad").unlink()
    (results.folder("pancreas") / "gene_priors/hvg/text.parquet").unlink()
    first, second = progress.missing_files(results)
    assert "pancreas: the prepared cells" in first and "cells.h5ad" in first
    assert "the gene prior 'text' for the genes 'hvg'" in second


def test_failures_show_the_last_lines(results: Plan) -> None:
    (failure,) = progress.failures(results)
    assert failure.what == "pancreas, direct, seed 2: train"
    assert failure.run == results.run("pancreas", "direct", 2)
    assert len(failure.lines) == 15 and failure.lines[-2] == "line 39"


def test_a_job_that_succeeded_once_and_failed_later_is_a_failure(results: Plan) -> None:
    log = results.run("pancreas", "pca", 1).folder / "logs/export.log"
    log.write_text("\n")
    os.utime(log.with_suffix(".benchmark.tsv"), (5, 5))
    found = {failure.what: failure.lines for failure in progress.failures(results)}
    assert found["pancreas, pca, seed 1: export"] == ["(the log is empty)"]


def test_the_report_does_not_count_itself(results: Plan) -> None:
    (results.results / "logs").mkdir()
    (results.results / "logs/report.log").write_text("running\n")
    assert len(progress.failures(results)) == 1
    (results.results / "logs/gene_prior_text.log").write_text("50%\r100%\rdone\n")
    assert next(f for f in progress.failures(results) if f.run is None).lines == ["done"]


def test_costs_are_summed_by_step_and_by_model(results: Plan) -> None:
    jobs = cost.read_jobs(results)
    steps = {step.name: step for step in cost.by_step(jobs)}
    assert steps["train"].jobs == 7
    assert steps["train"].seconds == pytest.approx(4 * 10.5 + 3 * 20.5)
    assert (steps["train"].longest, steps["train"].memory) == (20.5, 200.0)
    fits = {fit.name: fit for fit in cost.of_training(jobs)}
    assert (fits["direct"].jobs, fits["direct"].slowest) == (1, "pancreas")


def test_a_job_too_short_to_measure(results: Plan) -> None:
    for path in results.results.glob("datasets/pancreas/models/*/*/logs/export.benchmark.tsv"):
        path.write_text("s\th:m:s\tmax_rss\n0.2\t0:00:00\tNA\n")
    step = next(step for step in cost.by_step(cost.read_jobs(results)) if step.name == "export")
    assert math.isnan(step.memory) and step.longest == 0.2


def test_coverage_is_read(results: Plan) -> None:
    (row,) = coverage.coverage(results)
    assert (row.dataset, row.selection, row.prior, row.source) == ("pancreas", "hvg", "text", "text")
    assert (row.found, row.genes, row.share_of_genes, row.share_of_umis) == (30, 40, 0.75, 0.9)
    assert row.matched_by == "symbol 28, alias 2"
    assert row.missing.startswith("LOST0, LOST1") and row.missing.endswith("... (20 in all)")


def test_the_card_counts_cells(results: Plan) -> None:
    card = datasets.card(results, "pancreas")
    facts = dict(card.facts)
    assert (facts["Cells"], facts["Genes"], facts["Batches"], facts["Cell types"]) == ("120", "60", "2", "3")
    assert facts["Train / val / test"] == "84 / 12 / 24"
    assert card.by_split is not None and card.by_split.columns == ["train", "val", "test"]
    assert sum(total for _, _, total in card.by_split.rows) == 120
    assert [sum(column) for column in zip(*(n for _, n, _ in card.by_split.rows), strict=True)] == [84, 12, 24]
    assert card.by_batch is not None and len(card.by_batch.columns) == 2
    assert card.selections == [("hvg", "40 of 60 genes, 66.7% of all counts")]
    assert [f.level for f in card.findings] == ["warning", "ok"]


def test_a_card_of_nothing_says_so(results: Plan) -> None:
    folder = results.folder("pancreas")
    (folder / "checks.json").unlink()
    (folder / "cells.h5ad").write_bytes((folder / "cells.h5ad").read_bytes()[:2000])
    card = datasets.card(results, "pancreas")
    assert not card.facts
    assert "did not finish" in card.findings[0].message and "truncated" in card.findings[1].message


def test_scores_come_from_the_runs_while_the_summary_is_old(results: Plan) -> None:
    assert len(scores.read_scores(results).table) == 56
    summary = results.results / "summary/scores.parquet"
    write_table(summary, pd.read_parquet(summary).iloc[:3])
    assert len(scores.read_scores(results).table) == 3
    os.utime(summary, (1, 1))
    assert len(scores.read_scores(results).table) == 56
    summary.unlink()
    assert set(scores.read_scores(results).table["model"]) == {"pca", "direct", "control_random"}


def test_intervals_are_read_with_the_scores_they_were_made_of(evaluated: Plan) -> None:
    found = scores.read_scores(evaluated)
    assert found.intervals is not None and found.comparisons is not None
    os.utime(evaluated.results / "summary/comparisons.parquet", (1, 1))
    found = scores.read_scores(evaluated)
    assert found.intervals is not None and found.comparisons is None
    os.utime(evaluated.results / "summary/scores.parquet", (1, 1))
    assert scores.read_scores(evaluated)[1:] == (None, None)


def test_what_the_wider_evaluation_lacks_is_named(evaluated: Plan) -> None:
    (evaluated.results / "summary/intervals.parquet").unlink()
    assert [text.split(" (")[0] for text in progress.missing_files(evaluated)] == ["the table of intervals"]
    run = evaluated.run("pancreas", "direct", 1)
    assert next(s for s in progress.run_states(evaluated) if s.run == run).missing == []
    (run.folder / "scores/left_out_genes.parquet").unlink()
    (run.folder / "scores/genes.parquet").unlink()
    lost = next(s for s in progress.run_states(evaluated) if s.run == run).missing
    assert lost == ["scores of genes", "scores of left-out genes"]


def test_trainings_in_one_line(results: Plan) -> None:
    lines = training.trainings(results)
    assert [(t.model, t.seed) for t in lines] == [("phase", 1), ("phase", 2), ("direct", 1)]
    assert (lines[0].epochs, lines[0].limit, lines[0].kept, lines[0].val) == (20, 60, 15, 11.0 - 15 / 4)


def test_origins_name_inputs_versions_code_and_devices(results: Plan) -> None:
    found = origins.origins(
        results, [{"script": "prepare_cells.py", "inputs": {"raw.h5ad": "cd" * 32}, "versions": {"numpy": "1"}}]
    )
    assert [(o.name, o.sha256[:4], o.used_by) for o in found.inputs] == [
        ("cells.h5ad", "abab", "select_genes.py"), ("raw.h5ad", "cdcd", "prepare_cells.py"),
    ]  # fmt: skip
    assert found.versions == {"numpy": "1, 2.4.6", "torch": "2.13.0"}
    assert found.code == {"select_genes.py": "c0de"}
    assert found.devices["direct"] == "cpu"


def test_an_album_keeps_its_budget(tmp_path: Path) -> None:
    import numpy as np

    noise = np.random.default_rng(0).integers(0, 255, (200, 3000, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    album = Album(budget=400_000)
    first, second, third = (album.add(tmp_path / "a.png", "noise") for _ in range(3))
    assert first is not None and second is not None and third is not None
    assert (first.width, second.width) == (1700, 1000), "later figures are smaller"
    assert third.data is None, "the budget is spent"
    assert album.spent <= 400_000
    assert album.add(tmp_path / "b.png", "nothing") is None
