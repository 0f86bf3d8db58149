"""Hydra's and OmegaConf's errors in one sentence that names the key and what would be right."""

from __future__ import annotations

import re

from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, KeyValidationError, OmegaConfBaseException

# OmegaConf's names of the types of values, in words.
_TYPES = {"Float": "a number", "Integer": "a whole number", "Boolean": "true or false", "String": "text"}
_HINTS = {
    "str": "text (in quotes)",
    "typing.List[str]": "a list of overrides in quotes",
    "int": "whole numbers",
    "float": "numbers",
}


def explain(error: Exception) -> str:
    """One sentence on a Hydra or OmegaConf error that names its key and what would be right."""
    # Hydra names some causes only in passing, as the context of what it raises.
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    causes = [link for link in chain if isinstance(link, OmegaConfBaseException)]
    if not causes:
        return _explain_hydra(" ".join(str(error).split()))
    # The deepest that knows its key: beneath it are OmegaConf's own, not yet formatted.
    root = next((cause for cause in reversed(causes) if cause.full_key), causes[-1])
    key = root.full_key or str(root.key)
    text = str(root.msg or root).splitlines()[0].rstrip(".")
    if isinstance(root, (ConfigKeyError, ConfigAttributeError)):
        return _explain_unknown(key, root)
    if isinstance(root, KeyValidationError):
        return f"{key.rpartition('.')[0] or key}: a name must be text, put it in quotes: {text}"
    if match := re.fullmatch(r"Value '(.*)' of type '.*' could not be converted to (\w+)", text):
        return f"{key} must be {_TYPES.get(match[2], match[2])}, not {match[1]!r}"
    if match := re.fullmatch(r"Value (.*) \(.*\) is incompatible with type hint '([\w.\[\]]+)'", text):
        return f"{key} must hold {_HINTS.get(match[2], match[2])}, not {match[1]}"
    if "missing mandatory value" in text:
        return f"{key} must be given: write {key}=value"
    if "is not Optional" in text or text.startswith("Incompatible value 'None'"):
        return f"{key} must not be null"
    if match := re.fullmatch(r"(?:Invalid value assigned: )?(\w+) is not a (?:ListConfig|DictConfig).*", text):
        return f"{key} must be a list, as in {key}=[0]" if "list" in text else f"{key} must be a table of keys"
    if re.match(r"Cannot (?:merge DictConfig with|assign \w+ to Dict)", text):
        return f"{key} must be a table of keys"
    return f"{key}: {text}"


def _explain_unknown(key: str, cause: OmegaConfBaseException) -> str:
    if key == "grid":
        return f"{key} needs a grid: name one with +grid=NAME"
    parent = cause.parent_node
    known = sorted({str(name) for name in parent} - {"hydra"}) if isinstance(parent, DictConfig) else []
    return f"there is no config key {key}" + (f": choose one of {', '.join(known)}" if known else "")


def _explain_hydra(text: str) -> str:
    if match := re.match(r"Could not append to config\. An item is already at '(.*?)'", text):
        return f"{match[1]} has a value already: write {match[1]}=value, without +"
    if match := re.match(r"Could not override '(.*?)'", text):
        return f"there is no config key {match[1]}"
    if match := re.match(r"Could not delete from config\. '(.*?)' does not exist", text):
        return f"there is no config key {match[1]} to delete"
    return text.split(" See https://")[0]
