"""A whole HTML page: its head, styles, scripts and their data, all of them inside."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import html
import json
from collections.abc import Mapping
from importlib import metadata, resources
from typing import Any

from subnetray.files import write_atomic
from subnetray.places import default_cache


def page(title: str, body: str, css: str = "") -> str:
    """A page around ``body``, which is HTML already, without script; ``css`` is added to that of all pages."""
    return _page(title, f"<body>\n{body}\n</body>", css)


def report_page(title: str, contents: str, body: str, library: str = "", again_s: int = 0) -> str:
    """A page with a list of its contents, and with the script of reports; all but the title are HTML already.

    ``library`` is a script that goes before. The page loads itself again every ``again_s`` seconds; 0: never.
    """
    nav = (
        '<a class="skip" href="#main">Skip to the content</a>\n<nav aria-label="Contents">\n'
        f"<details open>\n<summary>Contents</summary>\n{contents}\n</details>\n</nav>"
    )
    script = "".join(f"<script>\n{text}</script>\n" for text in (library, asset("report.js")) if text)
    head = ""
    if again_s:  # the script keeps the reader's place; where there is none, the page loads all the same
        head = f'<noscript><meta http-equiv="refresh" content="{again_s}"></noscript>\n'
        script += f'<script data-seconds="{again_s}">\n{asset("live.js")}</script>\n'
    whole = f'<body class="contents">\n{nav}\n<main id="main">\n{body}\n</main>\n{script}</body>'
    return _page(title, whole, head=head)


def _page(title: str, body: str, css: str = "", head: str = "") -> str:
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n{head}'
        f"<title>{html.escape(title)}</title>\n<style>\n{asset('report.css')}{css}</style>\n</head>\n"
        f"{body}\n</html>\n"
    )


@functools.cache
def asset(name: str) -> str:
    """The content of a file in ``assets/``."""
    return resources.files("subnetray.reporting.writers").joinpath("assets", name).read_text(encoding="utf-8")


def data_script(kind: str, content: Any) -> str:
    """JSON for the page's script, in which no text of others ends the element that it stands in."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    safe = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return f'<script type="application/json" class="{kind}">{safe}</script>'


def packed(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A chart whose rows name their columns once; the page's script unpacks them."""
    rows = spec["datasets"]["rows"]
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {
        **spec,
        "datasets": {"rows": {"names": names, "values": [[row.get(name) for name in names] for row in rows]}},
    }


@functools.cache
def library() -> str:
    """The script that draws charts: Vega, Vega-Lite and Vega-Embed in the versions that Altair writes for.

    Bundling takes seconds, so that what came of it is kept in the user's cache directory.
    """
    import altair
    import vl_convert

    version = ".".join(altair.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    kept = default_cache() / "reports" / f"vega-lite-{version}-{metadata.version('vl-convert-python')}.js"
    with contextlib.suppress(OSError, ValueError):
        digest, _, text = kept.read_text(encoding="utf-8").partition("\n")
        if digest == _digest(text):
            return text
    text = str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=version))
    # In a scope of its own, and without the one word that would end the element that it stands in.
    text = "(() => {\n" + text.replace("</script", "<\\/script") + "\n})();\n"
    with contextlib.suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(kept, f"{_digest(text)}\n{text}")
    return text


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
