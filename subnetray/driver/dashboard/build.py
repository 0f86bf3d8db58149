"""Make a workspace and a report of ``wandb-workspaces`` from what a dashboard says; nothing is saved."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from wandb_workspaces import expr

from subnetray.nulls import NULLS, STRONGEST
from subnetray.store.metrics import STEP

_METHOD = (
    "A coordinate is updated if its stored value differs bit for bit in the export dtype. Runs are the units of"
    " replication: intervals are over seeds, never over coordinates.",
    "Overlap of two masks is compared with what it would be without shared structure, given what each null knows: "
    + "; ".join(f"{null.given} (the {null.title} null)" for null in NULLS.values())
    + ".",
)
_TABLE = "tables/pairs"


def view(content: Mapping[str, Any]) -> str:
    """The name of the sweep's workspace in its address: always the same for the same sweep."""
    return hashlib.sha256(f"subnetray {content['run']}".encode()).hexdigest()[:11]


def workspace(content: Mapping[str, Any], entity: str) -> Any:
    """The workspace: what was found, then a section of charts for each section of metrics."""
    return ws.Workspace(
        entity=entity,
        project=content["project"],
        name=content["title"],
        sections=sections(content),
        settings=settings(),
        runset_settings=runset(content),
    )


def settings() -> Any:
    """Charts are drawn over the optimizer step."""
    return ws.WorkspaceSettings(x_axis=STEP, group_by_prefix="first", max_runs=100)


def runset(content: Mapping[str, Any]) -> Any:
    """The runs of the sweep, grouped by its main factors."""
    return ws.RunsetSettings(
        filters=_filter(content),
        groupby=[expr.Config(f"factor/{name}") for name in content["groups"]],
        pinned_columns=[
            *(f"config:factor/{factor['name']}.value" for factor in content["factors"]),
            *(f"summary:{key}" for key in content["results"]),
        ],
    )


def sections(content: Mapping[str, Any]) -> list[Any]:
    """The sections of the workspace."""
    found = [ws.Section(name="what was found", panels=findings(content), is_open=True, pinned=True)]
    for section in content["sections"]:
        panels = [wr.LinePlot(title=key, x=STEP, y=[key]) for key in section["keys"]]
        found.append(ws.Section(name=section["name"], panels=panels, is_open=section["is_open"]))
    finals = [wr.BarPlot(title=key, metrics=[key]) for key in content["results"]]
    return [*found, ws.Section(name="final", panels=finals, is_open=True)]


def findings(content: Mapping[str, Any]) -> list[Any]:
    """Charts that say what factors do: to density, along the rate, and to overlap above its null."""
    main = content["results"][0]
    by = content["groups"][0]
    factors = [wr.Config(f"factor/{factor['name']}") for factor in content["factors"]]
    columns = [*factors, wr.Config("algorithm.lr"), *(wr.SummaryMetric(key) for key in content["results"])]
    return [
        wr.ParallelCoordinatesPlot(
            title="From factors to density and accuracy",
            columns=[wr.ParallelCoordinatesPlotColumn(metric=column) for column in columns],
            layout=wr.Layout(w=24, h=9),
        ),
        wr.ParameterImportancePlot(with_respect_to=main, layout=wr.Layout(w=12, h=9)),
        wr.BarPlot(title=f"Density by {by}", metrics=[main], groupby=wr.Config(f"factor/{by}")),
        wr.ScatterPlot(
            title="Density against learning rate",
            x=wr.Config("algorithm.lr"),
            y=wr.SummaryMetric(main),
            log_x=True,
        ),
        wr.CustomChart(
            query={"summaryTable": {"tableKey": _TABLE}},
            chart_name="wandb/scatter/v0",
            chart_fields={"x": f"{STRONGEST}_o1", "y": "o1"},
            chart_strings={"title": "Overlap above its null: observed against what the strongest null expects"},
        ),
        wr.MediaBrowser(title="Figures", media_keys=list(content["figures"]), layout=wr.Layout(w=24, h=12)),
    ]


def description(content: Mapping[str, Any]) -> str:
    """The line under the title; it names the sweep's run, by which the report is found again."""
    about = f"{content['about']} " if content["about"] else ""
    return f"{about}Made by subnetray from {content['run']}."


def blocks(content: Mapping[str, Any], entity: str) -> list[Any]:
    """The report: verdicts, figures, what factors do, method."""
    runs = wr.Runset(entity=entity, project=content["project"], name=content["group"], filters=_filter(content))
    return [
        wr.TableOfContents(),
        wr.H1("Verdicts"),
        *(
            [wr.MarkdownBlock(_verdicts(content["claims"]))]
            if content["claims"]
            else [wr.P("No claim was judged yet.")]
        ),
        wr.H1("Figures"),
        wr.PanelGrid(runsets=[runs], panels=findings(content)),
        wr.H1("Factors"),
        wr.MarkdownBlock(
            "\n".join(
                f"- **{each['name']}** ({', '.join(each['levels'])}): {each['about']}" for each in content["factors"]
            )
        ),
        wr.H1("Method"),
        *(wr.P(text) for text in _METHOD),
    ]


def _filter(content: Mapping[str, Any]) -> list[Any]:
    return [expr.Metric("Group") == content["group"]]


def _verdicts(claims: list[Mapping[str, Any]]) -> str:
    lines = ["| Claim | Verdict | Estimate | Test |", "| --- | --- | --- | --- |"]
    for claim in claims:
        words = (claim["statement"], claim["verdict"], _estimate(claim), claim["test"])
        lines.append("| " + " | ".join(str(word).replace("|", "\\|") for word in words) + " |")
    return "\n".join(lines)


def _estimate(claim: Mapping[str, Any]) -> str:
    if claim["estimate"] is None:
        return "–"
    ends = claim["interval"]
    interval = f" ({100 * claim['level']:.0f} %: {ends[0]:.3g} to {ends[1]:.3g})" if ends else ""
    return f"{claim['estimate']:.3g} {claim['unit']}{interval}"
