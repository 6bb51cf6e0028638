"""Words for what pydantic finds: the key's path, the value, what is allowed, the nearest valid name."""

from __future__ import annotations

import re
import types
import typing
from typing import Any

from pydantic import BaseModel, ValidationError

from sclamp.core.errors import did_you_mean


def problems_of(error: ValidationError, root: type[BaseModel], prefix: str = "") -> list[str]:
    """One sentence for each problem that pydantic found in a mapping that should have become `root`."""
    return [_sentence(dict(item), root, prefix) for item in error.errors(include_url=False)]


def _sentence(item: dict[str, Any], root: type[BaseModel], prefix: str) -> str:
    location, kind, found = tuple(item["loc"]), item["type"], item.get("input")
    path = _path(location, root, prefix)
    if kind == "extra_forbidden":
        valid = sorted(_fields_at(root, location[:-1]))
        return f"{path}: unknown key{did_you_mean(str(location[-1]), valid)} Allowed: {', '.join(valid)}."
    if kind in {"missing", "union_tag_not_found"}:
        return f"{path}{'.source' if kind == 'union_tag_not_found' else ''}: is missing."
    if kind in {"literal_error", "union_tag_invalid"}:
        context = item["ctx"]
        allowed = re.findall(r"'([^']*)'", context.get("expected") or context["expected_tags"])
        value = str(found if kind == "literal_error" else context["tag"])
        where = path if kind == "literal_error" else f"{path}.source"
        return f"{where}: '{value}' is not allowed{did_you_mean(value, allowed)} Allowed: {', '.join(allowed)}."
    if kind == "string_pattern_mismatch" and (meaning := _description(root, location)):
        return f"{path}: '{found}' does not fit. {meaning}"
    message = item["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(found, dict | list) else f" (found {found!r})"
    return f"{path}: {message[:1].lower()}{message[1:]}{shown}."


def _path(location: tuple[Any, ...], root: type[BaseModel], prefix: str) -> str:
    """Dotted path of a key, without the names that pydantic adds for the members of unions and for keys."""
    parts: list[str] = []
    current: Any = root
    for part in location:
        if isinstance(part, str) and _is_union_tag(current, part):
            current = _member(current, part)
            continue
        if part == "[key]":
            continue
        parts.append(f"[{part}]" if isinstance(part, int) else f".{part}")
        current = _step(current, part)
    return (prefix + "".join(parts)).removeprefix(".") or "config"


def _fields_at(root: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    current: Any = root
    for part in location:
        tag = isinstance(part, str) and _is_union_tag(current, part)
        current = _member(current, part) if tag else _step(current, part)
    return list(getattr(current, "model_fields", {}))


def _description(root: type[BaseModel], location: tuple[Any, ...]) -> str:
    """What a key means, as in the reference."""
    current: Any = root
    for part in location[:-1]:
        tag = isinstance(part, str) and _is_union_tag(current, part)
        current = _member(current, part) if tag else _step(current, part)
    field = getattr(current, "model_fields", {}).get(location[-1])
    return " ".join((field.description or "").split()) if field else ""


def _strip(annotation: Any) -> Any:
    while typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    return annotation


def _union_members(annotation: Any) -> list[Any]:
    annotation = _strip(annotation)
    if typing.get_origin(annotation) in {typing.Union, types.UnionType}:
        return [_strip(a) for a in typing.get_args(annotation)]
    return []


def _is_union_tag(annotation: Any, part: str) -> bool:
    return _member(annotation, part) is not None


def _member(annotation: Any, tag: str) -> Any:
    for member in _union_members(annotation):
        field = getattr(member, "model_fields", {}).get("source")
        if field is not None and tag in typing.get_args(field.annotation):
            return member
        if getattr(member, "__name__", None) == tag or str(member).startswith(str(tag).split("[")[0]):
            return member
    return None


def _step(annotation: Any, part: Any) -> Any:
    annotation = _strip(annotation)
    members = [m for m in _union_members(annotation) if m is not type(None)]
    if len(members) == 1:
        annotation = members[0]
    fields = getattr(annotation, "model_fields", None)
    if fields is not None:
        return fields[part].annotation if part in fields else None
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is dict:
        return arguments[1]
    return arguments[0] if arguments else None
