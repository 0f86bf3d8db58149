"""Sweeps that are disturbed on purpose, as their users see them: ``python -m tests.chaos --seed 0``.

A fault is done to a sweep of a grid of its own, the same command is given again, and what is then in the sweep's
directory must be what an undisturbed sweep writes. Nothing of ``subnetray`` is imported here but its reader of masks'
headers: the sweep is a command, its output and its files.
"""
