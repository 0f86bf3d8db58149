"""The driver of a sweep: Ray Tune runs what is missing, results are gathered as they come."""

from __future__ import annotations
