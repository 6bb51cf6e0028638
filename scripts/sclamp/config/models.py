"""The `models` section: grids, defaults, settings by mode, and the phases of a chained model."""

from __future__ import annotations

import itertools
from typing import Any

from pydantic import ValidationError

from sclamp.config.base import ModelSettings
from sclamp.config.messages import problems_of
from sclamp.config.registry import MODES, settings_class
from sclamp.core.errors import did_you_mean


def explode(entries: dict[str, Any], problems: list[str]) -> dict[str, dict[str, Any]]:
    """Replace each model that has a `grid` by one model per combination, named like beta_vae.latent_dim=20."""
    exploded: dict[str, dict[str, Any]] = {}
    for name, entry in entries.items():
        if not isinstance(entry, dict):
            continue
        entry = dict(entry)
        grid = entry.pop("grid", None)
        if grid is None:
            exploded[str(name)] = entry
            continue
        if not isinstance(grid, dict) or not grid or not all(isinstance(v, list) and v for v in grid.values()):
            problems.append(
                f"models.{name}.grid: a mapping of settings to lists of values is expected, found {grid!r}."
            )
            continue
        for values in itertools.product(*grid.values()):
            chosen = dict(zip(grid, values, strict=True))
            label = ",".join(f"{key}={_readable(value)}" for key, value in chosen.items())
            exploded[f"{name}.{label}"] = {**entry, **chosen}
    return exploded


def _readable(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "x".join(_readable(v) for v in value) or "none"
    return str(value).replace("/", "-").replace(" ", "-")


def parse_models(
    entries: dict[str, dict[str, Any]], defaults: dict[str, Any], problems: list[str]
) -> dict[str, ModelSettings]:
    """Settings of each model; a default is given to the models whose mode knows its key."""
    models: dict[str, ModelSettings] = {}
    used: set[str] = set()
    for name, entry in entries.items():
        mode = entry.get("mode")
        if not isinstance(mode, str) or mode not in MODES:
            problems.append(_bad_mode(name, mode))
            continue
        known = settings_class(mode)
        inherited = {key: value for key, value in defaults.items() if key in known.model_fields}
        used |= set(inherited)
        try:
            models[name] = known.model_validate({**inherited, **entry})
        except ValidationError as error:
            problems += problems_of(error, known, prefix=f"models.{name}")
    for key in sorted(set(defaults) - used):
        fields = {field for mode in MODES for field in settings_class(mode).model_fields}
        problems.append(f"model_defaults.{key}: no model of this config has such a setting{did_you_mean(key, fields)}")
    return models


def _bad_mode(name: str, mode: Any) -> str:
    if mode is None:
        return f"models.{name}.mode: is missing. Allowed: {', '.join(MODES)}."
    return f"models.{name}.mode: '{mode}' is not allowed{did_you_mean(str(mode), MODES)} Allowed: {', '.join(MODES)}."
