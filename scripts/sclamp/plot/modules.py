"""Map of a gene embedding with its modules: clusters of genes, named by the annotation that is enriched in them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sclamp.plot.genes import MAP, frame
from sclamp.plot.labels import place
from sclamp.plot.style import INK, MUTED, NOTHING, colours, dark, new_figure, short, styled

FDR = 0.05
LISTED, NAMED = 24, 30
"""Modules in the legend, and named on the map, at most: the largest."""
CENTRAL = 3
"""Genes that stand for a module without an enriched term."""
SIDE, LINE = 3.9, 0.36
"""Inches: width of the legend, height of its entry."""


class Module(NamedTuple):
    """A cluster of genes. rows: its genes on the map. term: the surest enriched one, or "". p: adjusted, of the term.

    central: symbols of the genes nearest to its centre.
    """

    name: str
    rows: np.ndarray
    term: str
    p: float
    central: list[str]


def modules_of(ids: np.ndarray, embedding: np.ndarray, table: pd.DataFrame, terms: pd.DataFrame,
               symbols: dict[str, str]) -> list[Module]:  # fmt: skip
    """The modules of embedded genes, largest first.

    ids (g,), embedding (g, k). table: gene_id, module. terms: module, term, p, p_adjusted. symbols: by gene id.
    """
    of = table.drop_duplicates("gene_id").set_index("gene_id")["module"].reindex(ids)
    unit = embedding / np.maximum(np.linalg.norm(embedding, axis=1, keepdims=True), 1e-12)
    found = []
    for name in of.dropna().unique():
        rows = np.flatnonzero((of == name).to_numpy())
        own = terms[(terms["module"] == name) & (terms["p_adjusted"] <= FDR)]
        best = own.sort_values(["p_adjusted", "p", "term"], kind="stable").head(1).to_dict("records")
        near = rows[np.argsort(-(unit[rows] @ unit[rows].mean(axis=0)), kind="stable")[:CENTRAL]]
        term, p = (str(best[0]["term"]), float(best[0]["p_adjusted"])) if best else ("", np.nan)
        label = f"{name:.0f}" if isinstance(name, float) else str(name)
        found.append(Module(label, rows, term, p, [symbols.get(ids[row]) or str(ids[row]) for row in near]))
    return sorted(found, key=lambda module: (-len(module.rows), module.name))


@styled
def draw(at: np.ndarray, modules: list[Module], title: str) -> Figure:
    """Draw genes at (g, 2), coloured by module; genes without a module are grey."""
    figure = new_figure(MAP + SIDE + 0.4, MAP + 0.55)
    width, height = figure.get_figwidth(), figure.get_figheight()
    axes = figure.add_axes((0.25 / width, 0.22 / height, MAP / width, MAP / height - 0.02))
    palette = colours([module.name for module in modules])
    size = float(np.clip(16000 / max(len(at), 1), 2.5, 18))
    inks = np.full(len(at), NOTHING, dtype=object)
    for module in modules:
        inks[module.rows] = palette[module.name]
    order = np.random.default_rng(0).permutation(len(at))
    axes.scatter(at[order, 0], at[order, 1], s=size, c=list(inks[order]), linewidths=0, alpha=0.85, rasterized=True)
    frame(axes)
    _name_modules(axes, at, modules, palette)
    _legend(figure, modules, palette, (0.25 + MAP + 0.15) / width)
    y = 1 - 0.12 / height
    figure.text(0.25 / width, y, short(title, 60), va="top", size=12, weight="bold")
    with_term = sum(bool(module.term) for module in modules)
    counts = f"{len(at):,} genes, {len(modules)} modules, {with_term} with an enriched term"
    figure.text(1 - 0.1 / width, y, counts, va="top", ha="right", color=MUTED)
    return figure


def _name_modules(axes: Axes, at: np.ndarray, modules: list[Module], palette: dict[str, str]) -> None:
    """The number of each module with its best term, at the gene nearest to its middle."""
    named = modules[:NAMED]
    if not named:
        return
    axes.apply_aspect()
    homes = []
    for module in named:
        own = at[module.rows]
        homes.append(own[np.argmin(np.square(own - np.median(own, axis=0)).sum(axis=1))])
    names = [f"{m.name} {short(words(m.term), 24)}".rstrip() for m in named]
    place(axes, np.array(homes), names, [dark(palette[module.name]) for module in named], size=7.5)


def words(term: str) -> str:
    """A term as people write it: GOBP_INSULIN_SECRETION becomes insulin secretion."""
    if "_" not in term or not term.isupper():
        return term
    source, _, rest = term.partition("_")
    plain = rest if source in {"GOBP", "GOMF", "GOCC", "HALLMARK", "REACTOME", "KEGG", "WP", "BIOCARTA"} else term
    return plain.replace("_", " ").lower()


def _legend(figure: Figure, modules: list[Module], palette: dict[str, str], left: float) -> None:
    """Number and size of each module, and beneath its best term with its p, or its central genes."""
    height = figure.get_figheight()
    room: Any = figure.add_axes((left, 0, 1 - left, 1))
    room.set(xlim=(0, (1 - left) * figure.get_figwidth()), ylim=(height, 0))
    room.axis("off")
    listed = modules[:LISTED]
    line = min(LINE, (height - 0.9) / max(len(listed) + (len(modules) > LISTED), 1))
    for i, module in enumerate(listed):
        y = 0.62 + i * line
        room.add_line(Line2D([0.08], [y], marker="o", markersize=6, linestyle="", color=palette[module.name]))
        genes = f"{len(module.rows):,} gene{'s' * (len(module.rows) != 1)}"
        heading = room.text(0.22, y, f"{module.name} ({genes})", va="center", fontsize=8, weight="bold", color=INK)
        term = f"{short(words(module.term), 46)}, p = {module.p:.1g}"
        text = term if module.term else ", ".join(module.central)
        style = "normal" if module.term else "italic"
        if line < 0.3:  # one line per module
            heading.set_text(f"{module.name} ({len(module.rows):,})")
            room.text(0.95, y, short(text, 44), va="center", fontsize=7, color=MUTED, style=style)
        else:
            room.text(0.22, y + 0.15, text, va="center", fontsize=7.2, color=MUTED, style=style)
    if len(modules) > LISTED:
        more = f"and {len(modules) - LISTED} smaller modules"
        room.text(0.22, 0.62 + len(listed) * line, more, va="center", fontsize=7.5, color=MUTED)
    note = "In italics: the most central genes of a module without an enriched term."
    if any(not module.term for module in listed):
        room.text(0.0, height - 0.1, note, va="center", fontsize=7, color=MUTED)
