"""The one thing that pyproject.toml cannot say: the top-level conf/ is the package ``subnetray.conf``."""

from __future__ import annotations

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["subnetray", "subnetray.*"]),
        "subnetray.conf",
        *(f"subnetray.conf.{group}" for group in find_packages("conf")),
    ],
    package_dir={"subnetray.conf": "conf"},
)
