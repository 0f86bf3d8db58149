"""The process that saves a dashboard: reads one line of JSON, saves the workspace, then the report, and says where.

    python -m subnetray.driver.dashboard.worker

Out: JSON objects, a line each: ``{"workspace": URL}`` and ``{"report": URL}`` as each is saved; ``{"missing": ...}``
where the sweep's run is not in the project; ``{"error": ...}``. What is there already is updated: a workspace is found
by its name, which is the sweep's own, and a report by the run that its description names.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from subnetray.driver.tracking.ask import PATIENCE

_log = logging.getLogger(__name__)


def main() -> None:
    """Save the dashboard that standard input describes."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed is no answer

    def answer(**words: Any) -> None:
        answers.write(json.dumps(words) + "\n")
        answers.flush()

    content = json.loads(sys.stdin.readline())
    try:
        _save(content, answer)
    except Exception as error:  # of W&B and of what it sends by, which have no class in common: the parent says it
        answer(error=f"{type(error).__name__}: {error}")


def _save(content: Mapping[str, Any], answer: Callable[..., None]) -> None:
    import wandb

    wandb.setup(settings=wandb.Settings(**PATIENCE))
    api = wandb.Api(timeout=PATIENCE["x_graphql_timeout_seconds"])
    entity = content["entity"] or api.default_entity
    project = f"{entity}/{content['project']}"
    try:
        app = api.run(f"{project}/{content['run']}").url.partition(f"/{quote(entity)}/")[0]
    except (ValueError, wandb.Error) as error:
        if "Could not find" not in str(error):
            raise
        return answer(missing=f"{project}/{content['run']}")
    answer(workspace=_workspace(content, entity, f"{app}/{quote(project)}"))
    answer(report=_report(content, entity, api.reports(project)))


def _workspace(content: Mapping[str, Any], entity: str, project_url: str) -> str:
    from wandb_workspaces import workspaces as ws

    from subnetray.driver.dashboard import build

    made = build.workspace(content, entity)
    try:
        found = ws.Workspace.from_url(f"{project_url}?nw={build.view(content)}")
    except ValueError as error:
        if "not found" not in str(error):
            raise
        call(made, f"nw-{build.view(content)}-v")
        return made.save().url
    found.name, found.sections = made.name, made.sections
    found.settings, found.runset_settings = made.settings, made.runset_settings
    return found.save().url


def call(workspace: Any, name: str) -> None:
    """Say what a new workspace is called in its address, by which it is found again.

    Nothing public does (wandb-workspaces 0.4.13). Without it the name is random, and the next one is one more.
    """
    try:
        workspace._internal_name = name
    except (AttributeError, ValueError) as error:
        _log.warning("wandb-workspaces has no Workspace._internal_name (%s): it will not be found again", error)


def _report(content: Mapping[str, Any], entity: str, reports: Any) -> str:
    from wandb_workspaces.reports import v2 as wr

    from subnetray.driver.dashboard import build

    description = build.description(content)
    known = next((each.url for each in reports if str(each.description or "").endswith(f"{content['run']}.")), None)
    report = wr.Report(project=content["project"], entity=entity) if known is None else wr.Report.from_url(known)
    report.title, report.description, report.width = content["title"], description, "fluid"
    report.blocks = build.blocks(content, entity)
    return report.save().url


if __name__ == "__main__":
    main()
