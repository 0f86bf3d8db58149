"""A W&B server on this machine, as far as runs need one: it keeps what is sent, and fails as servers do."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

# What the public API wants to know of a run besides.
_PLAIN: dict[str, Any] = {
    **{"state": "finished", "jobType": "sweep", "group": "g", "commit": None, "readOnly": False, "sweepName": None},
    **{"createdAt": "2026-01-01T00:00:00", "heartbeatAt": "2026-01-01T00:00:00", "systemMetrics": "{}"},
    **{"description": None, "notes": None, "historyKeys": {}, "projectId": "1", "user": {"name": "t", "username": "t"}},
}
KEY = "0123456789abcdef" * 2 + "01234567"


@dataclass
class Stored:
    """One run as the server has it: lines of its history by their number, as they were sent last."""

    display_name: str = ""
    group: str = ""
    job_type: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    lines: dict[int, dict[str, Any]] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None

    @property
    def steps(self) -> list[int]:
        """The steps of the history, in the order of its lines."""
        return [line["_step"] for _, line in sorted(self.lines.items())]


class Server(ThreadingHTTPServer):
    """Serves until ``close``. ``fault``: ``None``, a status that is the answer to all, ``"silent"`` or ``"gone"``.

    ``after``: so many lines of history are taken before the fault begins.
    """

    daemon_threads = True

    def __init__(self, fault: int | str | None = None, after: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.fault, self.after = fault, after
        self.runs: dict[str, Stored] = {}
        self.requests = 0
        self.asked: Counter[str] = Counter()  # of those that it answered, by what they asked for
        self.files: dict[str, bytes] = {}
        self.artifacts: dict[str, dict[str, Any]] = {}  # by name and alias: the contents of the manifest of version 3
        self.views: dict[str, dict[str, Any]] = {}  # workspaces and reports, by id
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def failing(self) -> bool:
        return self.fault is not None and sum(len(run.lines) for run in self.runs.values()) >= self.after

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who is killed in the middle of a request resets its connection."""

    def close(self) -> None:
        self.ended.set()
        self.shutdown()
        self.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PUT = do_GET

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.server.lock:
            self.server.requests += 1
        if self.server.failing:
            if self.server.fault == "silent":
                self.server.ended.wait()
            if not isinstance(self.server.fault, int):
                self.close_connection = True
                return
            return self._send({"error": "no"}, self.server.fault)
        with self.server.lock:
            if self.command == "PUT":
                self.server.files[self.path] = body
                answer: Any = {}
            elif self.path == "/graphql":
                answer = {"data": self._graphql(json.loads(body))}
            elif found := re.fullmatch(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", self.path):
                answer = self._stream(self.server.runs[found[1]], json.loads(body))
            elif self.path.startswith("/manifest/"):
                contents = self.server.artifacts[unquote(self.path.removeprefix("/manifest/"))]
                policy = {"storagePolicy": "wandb-storage-policy-v1", "storagePolicyConfig": {"storageLayout": "V2"}}
                answer = {"version": 1, **policy, "contents": contents}
            else:
                self.server.asked[self.path] += 1
                answer = {}
        self._send(answer)

    def _send(self, answer: Any, status: int = 200) -> None:
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, run: Stored, sent: dict[str, Any]) -> Any:
        for name, chunk in (sent.get("files") or {}).items():
            lines = [json.loads(line) for line in chunk["content"]]
            if name == "wandb-history.jsonl":
                run.lines.update(enumerate(lines, chunk["offset"]))
            elif name == "wandb-summary.json":
                run.summary = lines[-1]
        if sent.get("complete"):
            run.exit_code = sent["exitcode"]
        return {"exitcode": None, "limits": {}}

    def _graphql(self, request: dict[str, Any]) -> Any:
        given = request.get("variables") or {}
        operation = re.match(r"(?:\s|#.*)*(?:query|mutation)\s+(\w+)", request["query"])
        name = operation[1] if operation else request["query"]
        self.server.asked[name] += 1
        entity = {"id": "E", "name": "tester"}
        if name == "Viewer":
            return {"viewer": {"id": "U", "entity": "tester", "username": "tester", "email": "", "flags": "{}"}}
        if name == "ServerFeaturesQuery":
            return {"serverInfo": {"features": []}}
        if name == "RunResumeStatus":
            run = self.server.runs.get(given["name"])
            return {"model": {"id": "P", "name": "p", "entity": entity, "bucket": run and self._bucket(given, run)}}
        if name == "UpsertBucket":
            run = self.server.runs.setdefault(given["name"], Stored())
            run.display_name = given.get("displayName") or run.display_name
            run.group, run.job_type = given.get("groupName") or run.group, given.get("jobType") or run.job_type
            if given.get("config"):
                run.config = {key: item["value"] for key, item in json.loads(given["config"]).items()}
            project = {"id": "P", "name": given.get("project"), "entity": entity}
            bucket = {"id": f"id-{given['name']}", "name": given["name"], "displayName": run.display_name}
            return {"upsertBucket": {"bucket": bucket | {"project": project}, "inserted": True}}
        if name == "CreateRunFiles":
            files = [{"name": f, "uploadUrl": f"{self.server.url}/put/{given['run']}/{f}"} for f in given["files"]]
            return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}
        if name in ("ArtifactMembershipByName", "FetchArtifactManifest", "ArtifactManifest"):
            return self._artifact(name, given)
        if (found := self._dashboards(name, given)) is not None:
            return found
        if name == "ArtifactType":
            return {"project": None}
        if name == "CreateArtifact":  # of a table: there it is already, as to its content
            latest = {"latestArtifact": {"id": "A"}}
            return {"createArtifact": {"artifact": {"id": "A", "state": "COMMITTED", "artifactSequence": latest}}}
        return {}

    def _artifact(self, name: str, given: dict[str, Any]) -> Any:
        """An artifact that somebody asks for by name, and where its manifest is."""
        if name != "ArtifactMembershipByName":
            return {
                "artifact": {
                    "__typename": "Artifact",
                    "currentManifest": {"file": {"directUrl": f"{self.server.url}/manifest/{given['id']}"}},
                }
            }
        if given["name"] not in self.server.artifacts:
            return {"project": {"artifactCollectionMembership": None}}
        entity = {"name": given["entity"]}
        project = {"id": "UDE=", "internalId": "UDE=", "name": given["project"], "entity": entity}
        family = {"__typename": "ArtifactSequence", "name": given["name"].partition(":")[0], "project": project}
        artifact = {
            **{"__typename": "Artifact", "id": given["name"], "artifactSequence": family, "versionIndex": 3},
            **{"artifactType": {"name": "mask"}, "description": None, "metadata": "{}", "ttlDurationSeconds": -1},
            **{"ttlIsInherited": False, "tags": [], "historyStep": None, "state": "COMMITTED", "size": 1},
            **{"digest": "d", "commitHash": "c", "fileCount": 1, "createdAt": "2026-01-01T00:00:00Z"},
            **{"updatedAt": "2026-01-01T00:00:00Z", "aliases": []},
        }
        membership = {
            **{"__typename": "ArtifactCollectionMembership", "id": "M", "versionIndex": 3, "aliases": []},
            **{"createdAt": "2026-01-01T00:00:00Z", "artifactCollection": family, "artifact": artifact},
        }
        return {"project": {"artifactCollectionMembership": membership}}

    def _dashboards(self, name: str, given: dict[str, Any]) -> Any:
        """Answer what is asked for by who makes workspaces and reports; None of anything else."""
        project = {"id": "UDE=", "internalId": "UDE=", "name": "subnetray", "entityName": "tester"}
        if name == "GetDefaultEntity":
            return {"viewer": {"id": "U", "entity": "tester"}}
        if name == "Run":
            run = self.server.runs.get(given["name"])
            return {"project": {"internalId": "UDE=", "run": run and {**self._bucket(given, run), **_PLAIN}}}
        if name == "GetProjects":
            edges = [
                {
                    "node": project | {"createdAt": "2026-01-01T00:00:00Z", "isBenchmark": False, "user": None},
                    "cursor": "c",
                }
            ]
            return {"models": {"edges": edges, "pageInfo": {"endCursor": "c", "hasNextPage": False}}}
        if name == "ProjectInternalId":
            return {"project": project}
        if name in ("UpsertView2", "upsertView"):
            key = given.get("id") or next(
                (key for key, view in self.server.views.items() if view["name"] == given["name"]),
                base64.b64encode(f"View:{len(self.server.views)}".encode()).decode().rstrip("="),
            )
            view = {"id": key, **{field: given.get(field) for field in ("name", "displayName", "description", "spec")}}
            inserted = key not in self.server.views
            self.server.views[key] = view | {"type": given["type"]}
            return {"upsertView": {"view": view | {"type": given["type"], "project": project}, "inserted": inserted}}
        if name in ("View", "ProjectViews"):
            kind = given.get("viewType", "runs" if name == "ProjectViews" else "")
            wanted = given.get("viewName")
            found = [
                view
                for view in self.server.views.values()
                if (view["type"] == "runs" if kind == "runs" and name == "ProjectViews" else True)
                and (wanted is None or view["name"] in (wanted, f"nw-{wanted}-v"))
            ]
            edges = [{"node": view, "cursor": view["id"]} for view in found]
            return {"project": {"allViews": {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}}}}
        if name == "SpecificReport":
            return {"view": self.server.views[given["reportId"].rstrip("=")] | {"project": project}}
        return None

    def _bucket(self, given: dict[str, Any], run: Stored) -> Any:
        tail = [json.dumps(line) for _, line in sorted(run.lines.items())][-1:]
        return {
            **{"id": f"id-{given['name']}", "name": given["name"], "displayName": run.display_name},
            **{"logLineCount": 0, "eventsLineCount": 0, "eventsTail": "[]", "tags": [], "notes": None},
            **{"historyLineCount": len(run.lines), "historyTail": json.dumps(tail)},
            "summaryMetrics": json.dumps(run.summary),
            "config": json.dumps({key: {"value": value} for key, value in run.config.items()}),
            "wandbConfig": json.dumps({"t": 1}),
        }
