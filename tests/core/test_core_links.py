"""Links between the pages of this project lead somewhere, and every page can be found from the README."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def pages():
    """Markdown files under version control; without git, all outside hidden folders."""
    done = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=False)
    names = done.stdout.splitlines() or [str(p.relative_to(ROOT)) for p in ROOT.rglob("*.md")]
    return [ROOT / name for name in sorted(names) if not name.startswith((".", "results/")) and (ROOT / name).is_file()]


def text_of(page):
    """The page without its code."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.sub(r"`[^`]*`", "", text)


def links(page):
    """(target file, anchor) of each link to a file of ours."""
    for link in LINK.findall(text_of(page)):
        if not re.match(r"[a-z]+:", link):
            name, _, anchor = link.partition("#")
            yield link, (page.parent / name).resolve() if name else page, anchor


def anchors(page):
    """Names that a heading can be linked by, as code hosts make them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    heads = re.findall(r"^#+ +(.*?) *$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page):
    dead = []
    for link, target, anchor in links(page):
        if not target.exists():
            dead.append(f"{link}: no such file")
        elif anchor and anchor not in anchors(target):
            dead.append(f"{link}: no such heading; there are {', '.join(sorted(anchors(target)))}")
    assert dead == []


def test_every_page_of_the_docs_is_reached_from_the_readme():
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached:
            reached.add(page)
            waiting += [t for _, t, _ in links(page) if t.suffix == ".md" and t.exists()]
    docs = {page for page in pages() if page.parent == ROOT / "docs"}
    assert len(docs) > 10
    assert docs <= reached, f"no link leads to {sorted(page.name for page in docs - reached)}"


def test_the_readme_is_one_page():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120
