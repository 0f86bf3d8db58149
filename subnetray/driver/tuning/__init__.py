"""Run a sweep's runs as trials of Ray Tune: which next, in which process, and what becomes of each."""
