"""A process of ours: its clock, what it imports, and what it is told by its environment."""

from __future__ import annotations
