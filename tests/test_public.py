"""What others' programs read of the project: the citation, the forms of issues, the changelog, links, jobs of CI."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import subnetray

ROOT = Path(subnetray.__file__).parents[1]
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
# Of GitHub's form schema: what an element of each type may hold beside its label.
_ATTRIBUTES = {
    "input": {"label", "description", "placeholder", "value"},
    "textarea": {"label", "description", "placeholder", "value", "render"},
    "dropdown": {"label", "description", "options", "multiple"},
}


def _read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def test_the_citation_is_of_this_version_and_names_the_paper() -> None:
    cff = _read(ROOT / "CITATION.cff")
    # What CFF 1.2 requires.
    assert {"cff-version", "message", "title", "authors"} <= cff.keys()
    assert cff["cff-version"] == "1.2.0"
    assert str(cff["version"]) == subnetray.__version__
    assert cff["license"] == "Apache-2.0"
    (paper,) = cff["references"]
    assert {"type", "title", "authors"} <= paper.keys()
    assert paper["title"] == "Reinforcement Learning Finetunes Small Subnetworks in Large Language Models"
    assert paper["url"] in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("path", [path for path in FORMS if path.stem != "config"], ids=lambda path: path.stem)
def test_a_form_is_one_that_github_takes(path: Path) -> None:
    form = _read(path)
    assert {"name", "description", "body"} <= form.keys() <= {"name", "description", "title", "labels", "body"}
    asked = [each for each in form["body"] if each["type"] != "markdown"]
    assert asked
    assert len({each["id"] for each in asked}) == len(asked)
    for each in asked:
        assert each.keys() <= {"type", "id", "attributes", "validations"}
        assert re.fullmatch(r"[\w-]+", each["id"])
        assert each["attributes"].keys() <= _ATTRIBUTES[each["type"]]
        assert each["attributes"]["label"]
        assert ("options" in each["attributes"]) == (each["type"] == "dropdown")


def test_a_bug_is_told_with_version_command_and_doctor() -> None:
    form = _read(ROOT / ".github" / "ISSUE_TEMPLATE" / "bug.yml")
    needed = [each["id"] for each in form["body"] if each.get("validations", {}).get("required")]
    assert needed == ["version", "command", "doctor", "happened"]
    assert _read(ROOT / ".github" / "ISSUE_TEMPLATE" / "config.yml") == {"blank_issues_enabled": True}
    assert len({_read(path).get("name") for path in FORMS}) == len(FORMS)


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda path: path.stem)
def test_a_workflow_has_jobs_that_end_and_may_write_nothing(path: Path) -> None:
    workflow = _read(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["jobs"]
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 90
        assert all(("uses" in step) != ("run" in step) for step in job["steps"])


@pytest.mark.parametrize(
    "page",
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "sweeps").rglob("*.md")],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_a_link_between_pages_leads_somewhere(page: Path) -> None:
    """Links are looked up in the repository here; ``make docs`` holds those of the site."""
    links = re.findall(r"\]\((?!https?:)([^)\s#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_site_has_every_page_of_docs_and_takes_warnings_for_errors() -> None:
    site = _read(ROOT / "mkdocs.yml")
    assert site["strict"]
    named = re.findall(r"[\w/-]+\.md", str(site["nav"]))
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert pages <= set(named)
    assert len(set(named)) == len(named)


def test_the_site_has_a_lock_of_its_own() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["docs"]
    locked = {name: (ROOT / "locks" / f"{name}.txt").read_text() for name in ("docs", "cpu", "gpu")}
    for name in (each.partition("[")[0] for each in wanted):
        assert f"\n{name}==" in locked["docs"]
    assert all("mkdocs" not in locked[name] for name in ("cpu", "gpu"))


def test_the_changelog_has_one_line_a_change_and_this_version_first() -> None:
    lines = (ROOT / "CHANGELOG.md").read_text().splitlines()
    versions = [line for line in lines if line.startswith("## ")]
    assert versions[0].split()[1] == subnetray.__version__
    # A released version has a day.
    assert all("unreleased" in line or re.search(r"\d{4}-\d{2}-\d{2}$", line) for line in versions)
    groups = [line.removeprefix("### ") for line in lines if line.startswith("### ")]
    assert set(groups) <= {"Added", "Changed", "Fixed", "Removed"}
    changes = [line for line in lines[lines.index(versions[0]) :] if line and not line.startswith("#")]
    assert all(line.startswith("- ") or re.fullmatch(r"[A-Z][\w ]+:", line) for line in changes)
    assert [line for line in changes if len(line) > 120] == []
    assert len(set(changes)) == len(changes)
