"""A server that is taken for W&B's until it fails: it refuses, is silent, or goes away once a run has begun."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "0" * 40

_PROJECT = {"id": "p", "name": "subnetray", "entity": {"id": "e", "name": "chaos"}}


class Server:
    """Serves at ``url`` while it is entered.

    ``way``: ``closed`` (nobody listens), ``unauthorised`` (401 to everything), ``broken`` (500), ``silent`` (requests
    are taken and never answered), ``well`` (all is answered, until :meth:`die`).
    """

    def __init__(self, way: str) -> None:
        self._way = way
        self.asked = 0  # requests
        self.logged = 0  # of them, those that bring steps of a run
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._dead = threading.Event()
        self._held: list[socket.socket] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables that make W&B send its data here."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY}

    def __enter__(self) -> Server:
        if self._way == "closed":
            self._server.server_close()
        else:
            threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.die()

    def die(self) -> None:
        """Serve nobody any more: connections that are open are cut, new ones refused."""
        if not self._dead.is_set():
            self._dead.set()
            if self._way != "closed":
                self._server.shutdown()
                self._server.server_close()
            for held in self._held:
                held.close()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request in the way of this server."""
        self.asked += 1
        self._held.append(handler.connection)
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        if self._way == "silent":
            self._dead.wait()
            return
        if self._way == "well":
            self.logged += "file_stream" in handler.path
            _write(handler, 200, _graphql(body) if handler.path.endswith("/graphql") else {"exitcode": None})
        else:
            code = {"unauthorised": 401, "broken": 500}[self._way]
            _write(handler, code, {"errors": [{"message": "not today"}]})


def _graphql(body: bytes) -> dict[str, Any]:
    """The least of an answer that W&B's client goes on with."""
    asked = json.loads(body or b"{}")
    query, variables = asked.get("query", ""), asked.get("variables") or {}
    name = variables.get("name") or "run"
    if "upsertBucket" in query:
        run = {"id": name, "name": name, "displayName": name, "description": "", "config": "{}", "sweepName": None}
        run |= {"project": _PROJECT, "historyLineCount": 0}
        return {"data": {"upsertBucket": {"bucket": run, "inserted": True}}}
    if "query Viewer" in query or "viewer" in query:
        viewer = {"id": "v", "entity": "chaos", "username": "chaos", "flags": "{}", "teams": {"edges": []}}
        return {"data": {"viewer": viewer, "serverInfo": None}}
    if "createRunFiles" in query:
        return {"data": {"createRunFiles": {"runID": name, "uploadHeaders": [], "files": []}}}
    return {"data": {"model": None, "project": None, "serverInfo": None, "entity": None}}


def _write(handler: BaseHTTPRequestHandler, code: int, content: dict[str, Any]) -> None:
    data = json.dumps(content).encode()
    try:
        handler.send_response(code)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)
    except OSError:
        return  # who asked is gone


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            server.answer(self)

        do_POST = do_PUT = do_GET

        def log_message(self, *_: Any) -> None:
            """Nothing: the harness's own output is the report."""

    return Handler
