"""A whole HTML page: its head, styles and script, all of them inside."""

from __future__ import annotations

import functools
import html
from importlib import resources


def page(title: str, body: str, css: str = "") -> str:
    """A page around ``body``, which is HTML already, without script; ``css`` is added to that of all pages."""
    return _page(title, f"<body>\n{body}\n</body>", css)


def report_page(title: str, contents: str, body: str) -> str:
    """A page with a list of its contents, and with the script of reports; all three but the title are HTML already."""
    nav = (
        '<a class="skip" href="#main">Skip to the content</a>\n<nav aria-label="Contents">\n'
        f"<details open>\n<summary>Contents</summary>\n{contents}\n</details>\n</nav>"
    )
    script = f"<script>\n{asset('report.js')}</script>"
    return _page(title, f'<body class="contents">\n{nav}\n<main id="main">\n{body}\n</main>\n{script}\n</body>')


def _page(title: str, body: str, css: str = "") -> str:
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{asset('report.css')}{css}</style>\n</head>\n"
        f"{body}\n</html>\n"
    )


@functools.cache
def asset(name: str) -> str:
    """The content of a file in ``assets/``."""
    return resources.files("subnetray.reporting.writers").joinpath("assets", name).read_text(encoding="utf-8")
