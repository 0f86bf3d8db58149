"""Bad values for every key of a run, made from the schema: wrong types, and numbers beyond the bounds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, get_type_hints

from subnetray.config.compose import SCHEMAS
from subnetray.config.hints import COMMAND, Hints, is_text, may_be_none
from tests.bad_inputs.refusal import Case, case

# By schema: a file of ours that begins with it, and what it needs besides.
_FILES = {
    "schema_embedded": ("model=tiny",),
    "schema_pretrained": ("model=qwen2_5_0_5b",),
    "schema_smollm2": ("model=smollm2_135m",),
    "schema_arithmetic": ("task=arithmetic",),
    "schema_reasoning_gym": ("task=reasoning_gym",),
    "schema_dataset": ("task=gsm8k",),
    "schema_rollout": ("rollout=vllm",),
    "schema_cluster": ("cluster=laptop",),
    "schema_tracking": ("tracking=offline",),
}
_ALONE = ("evaluation", "measurement", "subnetwork")
# No bound below: an integer of these may be anything, and their text too.
_WRONG: dict[Any, tuple[str, ...]] = {
    int: ("x", "1.5", "true", "[1]", "{a:1}", str(2**63), "", "'1'", "-1"),
    float: ("x", "true", "[1]", "", "0x1", "nan", "inf", "-1", "9" * 400),
    bool: ("1", "yes", "[true]", "null", ""),
}


def _keys() -> Iterator[tuple[tuple[str, ...], str, Hints]]:
    """The words that choose its owner, key and hints of every field of a run's config; each key once."""
    seen: set[str] = set()
    owners: list[tuple[tuple[str, ...], str, type]] = [((), group, COMMAND[group][0]) for group in _ALONE]
    for group, kinds in SCHEMAS.items():
        for name, kind in kinds.items():
            owners.append((_FILES.get(name, (f"{group}={name.removeprefix('schema_')}",)), group, kind))
    for words, group, kind in owners:
        hints = get_type_hints(kind)
        for field in dataclasses.fields(kind):
            key = f"{group}.{field.name}"
            if key not in seen:
                seen.add(key)
                yield words, key, (hints[field.name],)


def _cases() -> Iterator[Case]:
    for words, key, hints in _keys():
        kind = next((each for each in (bool, int, float) if hints[0] == each or hints[0] == each | None), None)
        for value in _WRONG.get(kind, ()):
            if value == "null" and may_be_none(hints):
                continue
            yield case("train", [*words, f"{key}={value}"], key)
        if not is_text(hints) and not may_be_none(hints) and kind is not None and kind is not bool:
            yield case("train", [*words, f"{key}=null"], key)
        yield case("train", [*words, f"{key}_=1"], f"there is no config key {key}_")


CASES = list(_cases())
