"""Words for what pydantic finds: the key's path, the value, what is allowed, the nearest valid name."""

from __future__ import annotations

import types
import typing
from typing import Any

from pydantic import BaseModel, ValidationError

from sclamp.core.errors import nearest


def problems_of(error: ValidationError, root: type[BaseModel], prefix: str = "") -> list[str]:
    """One sentence for each problem that pydantic found in a mapping that should have become `root`."""
    return [_sentence(dict(item), root, prefix) for item in error.errors(include_url=False)]


def _sentence(item: dict[str, Any], root: type[BaseModel], prefix: str) -> str:
    location = tuple(item["loc"])
    kind, found = item["type"], item.get("input")
    path = _path(location, root, prefix)
    if kind == "extra_forbidden":
        valid = sorted(_fields_at(root, location[:-1]))
        close = nearest(str(location[-1]), valid)
        hint = f"; did you mean '{close}'?" if close else "."
        return f"{path}: unknown key{hint} Allowed: {', '.join(valid)}."
    if kind == "missing":
        return f"{path}: is missing."
    message = item["msg"].removeprefix("Value error, ")
    if kind in {"literal_error", "union_tag_invalid"}:
        allowed = [part.strip("' ") for part in str(item["ctx"].get("expected") or item["ctx"].get("expected_tags")).replace(" or ", ", ").split(",")]
        value = found if kind == "literal_error" else item["ctx"].get("tag")
        close = nearest(str(value), allowed)
        where = path if kind == "literal_error" else f"{path}.source"
        hint = f"; did you mean '{close}'?" if close else "."
        return f"{where}: '{value}' is not allowed{hint} Allowed: {', '.join(a for a in allowed if a)}."
    shown = "" if isinstance(found, dict | list) and kind == "value_error" else f" (found {found!r})"
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
        current = _member(current, part) if isinstance(part, str) and _is_union_tag(current, part) else _step(current, part)
    return list(getattr(current, "model_fields", {}))


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
