"""What MkDocs is told beside mkdocs.yml: pages that lie outside of docs/, and how links between them read."""

from __future__ import annotations

import re
from pathlib import Path

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_ROOT = Path(__file__).parents[1]
# Where a page lies in the repository, and what it is called in the site.
_PAGES = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "sweeps/origins-gpu/README.md": "origins-gpu.md",
    "sweeps/slurm/README.md": "slurm.md",
    # Files that are linked to, and shown by nothing.
    "examples/library.ipynb": "library.ipynb",
    "CITATION.cff": "CITATION.cff",
}
_LINK = re.compile(r"(?<=\]\()(?!https?:|#)[^)\s]+(?=\))")
_ROLE = re.compile(r":\w+:(?=`)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the repository, with links as they are in the site."""
    for source, page in _PAGES.items():
        files.append(File.generated(config, page, content=_LINK.sub(_in_site, (_ROOT / source).read_text())))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Lead the links of a page in docs/ that leave it to where those pages are in the site."""
    return _LINK.sub(lambda link: _PAGES.get(link[0].removeprefix("../"), link[0]), markdown)


def _in_site(link: re.Match[str]) -> str:
    """Return a link of such a page as the site has it; one that leads nowhere is then an error of MkDocs."""
    path, mark, anchor = link[0].partition("#")
    page = _PAGES.get(path) or _PAGES.get(f"{path}/README.md") or path.removeprefix("docs/")
    return f"{page}{mark}{anchor}"


class Roles(griffe.Extension):
    """Drop the roles of reStructuredText (``:func:`` and others) before names in docstrings."""

    def on_instance(self, *, obj: griffe.Object, **_: object) -> None:
        """Change an object's docstring."""
        if obj.docstring is not None:
            obj.docstring.value = _ROLE.sub("", obj.docstring.value)
