"""The dashboard of a sweep in W&B: a workspace of its runs and a report of what was found, as code.

``content`` reads a sweep's directory, ``build`` makes the objects of ``wandb-workspaces``, ``worker`` saves them in a
process of its own, which ``make`` waits for no longer than it says.
"""
