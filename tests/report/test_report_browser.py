"""The page in a browser: no errors, nothing fetched, tables sort and switch as they should."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sclamp.report.page import render
from sclamp.report.plan import Plan

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-extensions", "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr",
)  # fmt: skip
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]


class Seen(NamedTuple):
    """console: lines of the page's console. requests: addresses that the page asked for, fetched or not."""

    console: list[str]
    requests: list[str]


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[str], Seen]:
    """Open a page in a browser that finds no host, and read the browser's own log of the network."""

    def visit(page: str) -> Seen:
        number = len(list(tmp_path.glob("page*.html")))
        path, log = tmp_path / f"page{number}.html", tmp_path / f"network{number}.json"
        path.write_text(page, encoding="utf-8")
        profile = f"--user-data-dir={tmp_path / f'profile{number}'}"
        command = [str(CHROMIUM), *FLAGS, profile, f"--log-net-log={log}", "--dump-dom", path.as_uri()]
        stderr = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stderr
        return Seen([line for line in stderr.splitlines() if "CONSOLE" in line], _requests(log))

    return visit


def _requests(log: Path) -> list[str]:
    """Addresses in a network log that a page asked for; what the browser asks for itself has no origin."""
    written = json.loads(log.read_text(encoding="utf-8"))
    start = written["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    asked = [
        event["params"] for event in written["events"] if event["type"] == start and "url" in event.get("params", ())
    ]
    return [each["url"] for each in asked if each.get("initiator") != "not an origin"]


def _probed(seen: Seen) -> dict[str, Any]:
    """What a page's script wrote to the console; anything else there is an error."""
    assert len(seen.console) == 1, seen.console
    found = re.search(r'PROBE (\{.*\})"', seen.console[0])
    assert found is not None, seen.console
    return json.loads(found[1])


def _with_script(page: str, script: str) -> str:
    return page.replace("</body>", f"<script>{script}</script></body>")


def test_requests_and_errors_would_be_noticed(opened: Callable[[str], Seen]) -> None:
    seen = opened("""<!DOCTYPE html><title>x</title><link rel="stylesheet" href="https://fonts.googleapis.com/css">
    <img src="http://image.example.org/a.png"><script>fetch("https://api.example.org/b").catch(() => {});
    new WebSocket("ws://socket.example.org/c"); undefined.nothing;</script>""")
    hosts = {re.sub(r"^[a-z]+://([^/]*)/.*", r"\1", url) for url in seen.requests}
    assert hosts == {"fonts.googleapis.com", "image.example.org", "api.example.org", "socket.example.org"}
    assert any("TypeError" in line for line in seen.console)


def test_nothing_is_fetched_and_nothing_fails(evaluated: Plan, opened: Callable[[str], Seen]) -> None:
    page = render(evaluated)
    assert len(page.encode()) < 15_000_000
    script = """
    document.querySelectorAll("details").forEach((part) => { part.open = true; });
    const images = [...document.images], loaded = images.filter((image) => image.naturalWidth > 0).length;
    const resources = performance.getEntriesByType("resource").filter((r) => !r.name.startsWith("data:")).length;
    console.log("PROBE " + JSON.stringify({images: images.length, loaded, resources}));
    """
    for text in (page, POLICY.sub("", page)):  # the second: it does not even try, whatever the policy forbids
        seen = opened(_with_script(text, script))
        assert seen.requests == []
        assert _probed(seen) == {"images": 11, "loaded": 11, "resources": 0}
    assert POLICY.search(page), "what is not on the page may not come from elsewhere"


def test_tables_sort_by_a_click(evaluated: Plan, opened: Callable[[str], Seen]) -> None:
    script = """
    const table = document.querySelector("table.scores");
    const models = () => [...table.querySelectorAll("tbody th")].map((th) => th.dataset.v);
    const button = (name) => [...table.querySelectorAll("thead button")].find((b) => b.textContent === name);
    const found = {before: models(), start: button("Total").closest("th").ariaSort};
    const click = (name) => { button(name).click(); return [models(), button(name).closest("th").ariaSort]; };
    found.again = click("Total");
    found.text = click("Model");
    found.back = click("Model");
    found.marks = table.querySelectorAll("th[aria-sort]").length;
    const tables = [...document.querySelectorAll("table.sortable")];
    const jobs = tables.find((t) => /Steps of the workflow/.test(t.textContent));
    [...jobs.querySelectorAll("thead button")].find((b) => b.textContent === "Jobs").click();
    found.jobs = [...jobs.tBodies[0].rows].map((row) => Number(row.cells[1].dataset.v));
    console.log("PROBE " + JSON.stringify(found));
    """
    found = _probed(opened(_with_script(render(evaluated), script)))
    prior = "direct.prior=shuffled"
    assert (found["before"], found["start"]) == (["direct", prior, "pca", "control_random"], "descending")
    assert found["again"] == [["direct", prior, "control_random", "pca"], "ascending"], (
        "models stay apart from controls"
    )
    assert found["text"] == [["direct", prior, "control_random", "pca"], "ascending"]
    assert found["back"] == [["direct", prior, "pca", "control_random"], "descending"]
    assert found["marks"] == 1
    assert found["jobs"] == sorted(found["jobs"], reverse=True) and len(found["jobs"]) > 1


def test_errors_sort_the_lowest_first_and_what_is_missing_last(evaluated: Plan, opened: Callable[[str], Seen]) -> None:
    script = """
    const table = [...document.querySelectorAll("table.scores")].find((t) => /MSE/.test(t.textContent));
    const heading = [...table.querySelectorAll("thead button")].find((b) => /^MSE/.test(b.textContent)).closest("th");
    const row = (name, value) => `<tr><th data-v="${name}"></th>` + `<td data-v="${value}"></td>`.repeat(9) + "</tr>";
    const body = table.tBodies[0];
    body.innerHTML = row("a", "10") + row("b", "") + row("c", "9") + row("d", "-1e-3");
    const names = () => [...body.rows].map((r) => r.cells[0].dataset.v).join("");
    heading.querySelector("button").click();
    const first = names();
    heading.querySelector("button").click();
    console.log("PROBE " + JSON.stringify({first, second: names()}));
    """
    found = _probed(opened(_with_script(render(evaluated), script)))
    assert found == {"first": "dcab", "second": "acdb"}


def test_variants_and_calibrated_values_show_on_demand(evaluated: Plan, opened: Callable[[str], Seen]) -> None:
    script = """
    const board = document.querySelector(".board"), table = board.querySelector("table");
    const visible = () => [...table.rows[1].cells].filter((cell) => cell.offsetWidth > 0).length;
    const total = () => table.querySelector("tr.baseline td").innerText.split(/\\s/)[0];
    const found = {few: visible(), raw: total()};
    board.querySelector("input.more").click();
    board.querySelector("input.calibrate").click();
    found.all = visible();
    found.calibrated = total();
    found.groups = [...table.querySelectorAll("th.group")].map((th) => th.colSpan);
    console.log("PROBE " + JSON.stringify(found));
    """
    found = _probed(opened(_with_script(render(evaluated), script)))
    assert (found["few"], found["all"]) == (6, 7), "the model, then the scores"
    assert (found["raw"], found["calibrated"]) == ("0.615", "0.315")
    assert found["groups"] == [3, 2, 1]
