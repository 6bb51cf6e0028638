"""The page: everything is on it, nothing is fetched, nothing is executed that came from the data."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from sclamp.core.files import write_table
from sclamp.report.page import render
from sclamp.report.plan import Plan, read_plan


class _Page(HTMLParser):
    """Collects tags, ids, links, alternative texts; checks that tags are closed in order."""

    VOID = frozenset({"meta", "link", "img", "input", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def _words(text: str) -> str:
    text = re.sub(r"<(script|style)>.*?</\1>", "", text, flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", text))


def test_it_says_what_was_asked_found_and_lost(results: Plan) -> None:
    words = _words(render(results))
    for text in (
        "A demo &lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;",
        "pca ranks first: Total 0.615 ± 0.007 over 2 seeds, 0.105 ahead of direct",
        "Asked for: pca and direct on pancreas, each with 2 seeds; the controls random.",
        "Without tests of the differences small leads mean nothing.",
        "Ranked below pca: direct.",
        "pancreas, direct, seed 2: train: the job did not finish.",
        "the loss is nan &lt;script&gt;",
        "the gene prior &#39;text&#39; covers only 75% of the genes &#39;hvg&#39;",
        "is small",
        "84 / 12 / 24",
        "LOST0",
        "✕ failed",
        "▼ below pca",
        "pancreas: BRAS failed for control_random, direct, pca: broken &lt;script&gt;",
        "BRAS: failed for every model: broken &lt;script&gt;",
        "7 of 8",
        "torch",
        "abababab",
        "PMLR 267:24850-24868",
        "max_epochs: 60",
    ):
        assert text in words, text
    assert "line 20" not in words, "only the last lines of a log are shown"
    assert "nan " not in words.replace("the loss is nan ", "")


def test_nothing_is_fetched_and_data_cannot_run(results: Plan) -> None:
    page = render(results)
    parsed = _Page(page)
    assert not parsed.open
    for tag, attributes in parsed.tags:
        for name in ("src", "href", "data", "action", "poster", "srcset"):
            value = attributes.get(name) or ""
            assert not value or value.startswith(("data:", "#")), (tag, name, value[:60])
    assert not re.search(r"@import|url\(|fetch\(|XMLHttp|import\(", page)
    assert len(parsed.all("script")) == 1, "what came from the data must not become a script"


def test_it_is_accessible(results: Plan) -> None:
    parsed = _Page(render(results))
    assert parsed.all("html")[0]["lang"] == "en"
    images = parsed.all("img")
    assert len(images) == 2 + 2 + 1, "UMAPs of two models, curves of two phases, one gene map"
    assert all(image["alt"] and image["width"] for image in images)
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {a["href"] for a in parsed.all("a")} <= {f"#{name}" for name in ids}
    assert all(th.get("scope") in {"row", "col", "colgroup", "rowgroup"} for th in parsed.all("th"))


def test_it_shows_the_wider_evaluation(evaluated: Plan) -> None:
    page = render(evaluated)
    words, parsed = _words(page), _Page(page)
    for text in (
        "pca ranks first: Total 0.615 [0.593, 0.637], 0.105 [0.075, 0.135] ahead of direct",
        "direct: the true gene priors change Total by +0.050 [0.020, 0.080] against the same vectors on the wrong",
        "direct with priors replaced by controls (shuffled)",
        "direct.prior=shuffled 0.460",
        "1 pca baseline",
        "0.615[.59, .64]0.315[.26, .37]",
        "show calibrated",
        "annotation terms of 2 of 3 modules",
        "term &lt;script&gt;",
        "8 of 9",
        "Ridge Pearson",
        "(200 bootstrap resamples, Efron, 1979)",
    ):
        assert text in words, text
    assert words.count("In both") == 0 and "term c" not in words, "two terms of a module at most"
    captions = [image["alt"] or "" for image in parsed.all("img")]
    for start in (
        "Models of pancreas in the order", "What gene priors add", "Run time", "Measured against", "Genes nearest",
        "Modules of the genes",
    ):  # fmt: skip
        assert any(caption.startswith(start) for caption in captions), start
    links = [a["href"] for a in parsed.all("a")]
    assert links == [
        "#summary", "#missing", "#data", "#priors", "#training", "#scores", "#benefit", "#ranking", "#umaps",
        "#rebuilt", "#genes", "#left-out", "#maps", "#cost", "#methods", "#config", "#origins",
    ]  # fmt: skip
    headings = [attributes["id"] for tag, attributes in parsed.tags if tag in {"h1", "h2"}]
    assert [f"#{name}" for name in headings] == links


def test_tables_without_intervals_say_so(results: Plan) -> None:
    assert "held-out cells: mean over 2 seeds and its standard deviation." in _words(render(results))


def test_tables_say_what_their_numbers_are(evaluated: Plan) -> None:
    words = _words(render(evaluated))
    assert "held-out cells: mean over 2 seeds and its 95% interval." in words
    assert 'title="95% interval over cells: 0.593 to 0.637; rank 1"' in render(evaluated)
    assert "held-out cells: one seed, 95% interval over cells." in words, "genes were scored with one seed"


def test_a_figure_of_nothing_is_left_out(evaluated: Plan) -> None:
    run = evaluated.run("pancreas", "direct", 1)
    alt = 'alt="Measured against reconstructed and imputed expression'
    assert alt in render(evaluated)
    write_table(run.folder / "reconstruction.parquet", {"scope": ["gene"]})
    assert alt in render(evaluated)
    write_table(run.folder / "reconstruction.parquet", {"scope": []})
    assert alt not in render(evaluated), "a model without decoder"


def test_sections_of_what_does_not_exist_are_left_out(results: Plan) -> None:
    parsed = _Page(render(results))
    ids = {attributes.get("id") for _, attributes in parsed.tags}
    assert not ids & {"benefit", "ranking", "genes", "left-out"}


def test_equal_results_give_equal_pages(results: Plan) -> None:
    assert render(results) == render(results)


def test_the_page_exists_before_anything_else_does(tmp_path: Path, plan_of: Callable[..., dict[str, Any]]) -> None:
    raw = plan_of(tmp_path / "nothing")
    raw["datasets"] = ["pancreas"]
    words = _words(render(read_plan(json.dumps(raw))))
    assert "No score exists yet" in words
    assert "0 of 8" in words
    assert "The cells were not prepared." in words
    assert "pancreas: the prepared cells" in words


def test_a_damaged_table_is_named(results: Plan) -> None:
    from sclamp.core.errors import UserError

    broken = results.run("pancreas", "pca", 1).folder / "cell_embedding.parquet"
    broken.write_bytes(b"not parquet at all")
    with pytest.raises(UserError, match=r"cell_embedding\.parquet: cannot be read as Parquet"):
        render(results)


def test_the_script_writes_the_page(results: Plan, tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "scripts/write_report.py"
    command = [
        sys.executable,
        str(script),
        "--plan",
        json.dumps(results.raw),
        "--output",
        str(tmp_path / "report.html"),
    ]
    subprocess.run(command, check=True)
    assert (tmp_path / "report.html").stat().st_size > 50_000
    command[command.index("--plan") + 1] = "{}"
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "write_report.py: 4 problems" in run.stderr and "Traceback" not in run.stderr
