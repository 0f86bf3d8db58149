"""Write a report's blocks as HTML, LaTeX and Markdown."""

from __future__ import annotations
