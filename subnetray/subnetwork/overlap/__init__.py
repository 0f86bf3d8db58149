"""Measure what two updates share: tables, strata, nulls, margins, sketches, distances."""
