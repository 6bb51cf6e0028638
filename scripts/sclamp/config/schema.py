"""The JSON schema of config.yaml, for editors."""

from __future__ import annotations

from typing import Any

import yaml

from sclamp.config.registry import MODES, settings_class
from sclamp.config.root import Sections

HEAD = "# Made by scripts/make_schema.py from scripts/sclamp/config; edit that.\n"


def schema() -> dict[str, Any]:
    """JSON schema (2020-12) of the whole configuration, with the settings of each mode."""
    root = Sections.model_json_schema()
    definitions = root.setdefault("$defs", {})
    variants = []
    for mode in MODES:
        settings = settings_class(mode).model_json_schema(ref_template="#/$defs/{model}")
        definitions |= settings.pop("$defs", {})
        properties = settings["properties"]
        properties["mode"] = {"const": mode}
        properties["grid"] = {"type": "object", "additionalProperties": {"type": "array", "minItems": 1}}
        settings["required"] = sorted({*settings.get("required", []), "mode"})
        definitions[f"mode_{mode}"] = settings
        variants.append({"$ref": f"#/$defs/mode_{mode}"})
    root["properties"]["models"]["additionalProperties"] = {"oneOf": variants}
    root["properties"]["models"].pop("patternProperties", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **root}


def schema_text() -> str:
    """The schema as YAML."""
    return HEAD + yaml.safe_dump(schema(), sort_keys=True, width=120, allow_unicode=True)
