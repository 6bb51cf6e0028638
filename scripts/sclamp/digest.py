"""Digests of code: what a script would do, without its comments and docstrings."""

from __future__ import annotations

import ast
import functools
import hashlib
from pathlib import Path

from sclamp.config.registry import MODES

SCRIPTS = Path(__file__).resolve().parent.parent
REGISTRY = "sclamp.config.registry"


@functools.cache
def code_of(script: str, mode: str | None = None) -> str:
    """Digest of a script in scripts/ and of every module of ours that it imports, directly or not.

    The registry of modes counts only with the line of `mode`, and of the models only those of that mode, so that a new
    mode changes no other's digest. Comments, docstrings, formatting and file times do not count.
    """
    modules = set(_imported(SCRIPTS / script))
    digest = hashlib.sha256(_code(SCRIPTS / script).encode())
    if mode is not None:
        digest.update(repr(MODES[mode]).encode())
        modules |= set(MODES[mode].modules)
    for module in sorted(_closure(frozenset(modules))):
        digest.update(module.encode())
        digest.update(_code(_file_of(module)).encode())
    return digest.hexdigest()[:12]


def imports_of(script: str, mode: str | None = None) -> set[str]:
    """Modules of ours that count into `code_of` (for tests and for the curious)."""
    start = set(_imported(SCRIPTS / script))
    return _closure(frozenset(start | (set(MODES[mode].modules) if mode else set())))


def _closure(start: frozenset[str]) -> set[str]:
    done: set[str] = set()
    waiting = set(start)
    while waiting:
        module = waiting.pop()
        if module in done or module == REGISTRY:
            continue
        done.add(module)
        waiting |= set(_imported(_file_of(module))) - done
    return done


def _file_of(module: str) -> Path:
    base = SCRIPTS.joinpath(*module.split("."))
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


class _AtRunTime(ast.NodeTransformer):
    """Drops what only type checkers see."""

    def visit_If(self, node: ast.If) -> ast.AST | None:
        only_for_types = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        return None if only_for_types else self.generic_visit(node)


@functools.cache
def tree_of(path: Path) -> ast.Module:
    """Syntax tree of a file as it runs, without docstrings and what stands under `if TYPE_CHECKING`."""
    tree: ast.Module = _AtRunTime().visit(ast.parse(path.read_text(encoding="utf-8"), filename=str(path)))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [s for s in body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
            node.body = kept or [ast.Pass()]  # type: ignore[attr-defined]
    return tree


@functools.cache
def _imported(path: Path) -> tuple[str, ...]:
    found: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return tuple(sorted(name for name in found if name.split(".")[0] == "sclamp" and _file_of(name).is_file()))


@functools.cache
def _code(path: Path) -> str:
    return ast.unparse(tree_of(path))
