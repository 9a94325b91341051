"""What every answer has in common: JSON, a line for an error, and safe headers."""

import re
from collections.abc import Collection

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from zoo.serving.bodies import Unread
from zoo.serving.errors import Refused

# A browser takes an answer for what it says it is, and shows it to no other site.
SAFE = {
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
}
JSON = SAFE | {"content-type": "application/json"}
DEFECT = "a defect of the server; its log has more"


def json(content) -> Response:
    """Return an answer with this content."""
    return Response(orjson.dumps(content), headers=JSON)


def error(reason: str, status: int, **headers: str) -> Response:
    """Return an answer that says in a line why there is no other."""
    content = orjson.dumps({"error": " ".join(reason.split())})
    return Response(content, status, JSON | headers)


def explain_errors(app: FastAPI) -> None:
    """Make an application answer with `error` to all that goes wrong."""
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(RequestValidationError, _no_version)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(Exception, _defect)


async def _refused(request: Request, refused: Refused) -> Response:
    headers = {"connection": "close"} if isinstance(refused, Unread) else {}
    return error(str(refused), refused.status, **headers)


async def _no_version(request: Request, failed: RequestValidationError) -> Response:
    given = request.path_params["version"][:80]
    return error(f"a version must be a number, 0 to 2^63 - 1. Received: {given!r}", 400)


async def _no_route(request: Request, failed: HTTPException) -> Response:
    if failed.status_code == 405:
        allowed = failed.headers["Allow"]
        reason = f"{request.method} is not for this path; use {allowed}."
        return error(reason, 405, allow=allowed)
    reason = (
        f"nothing is at {request.url.path[:80]!r}; ask at /v1/models, "
        "/v1/models/NAME[/versions/V][/metadata], or POST to NAME:predict."
    )
    return error(reason, failed.status_code)


async def _defect(request: Request, failed: Exception) -> Response:
    return error(DEFECT, 500)  # what runs the application logs the traceback


class Hosts:
    """Refuses what browsers send for pages of other sites, as middleware.

    A page of a site whose name is made to mean this machine could otherwise read the
    answers (DNS rebinding); the browser then sends that site's name as the host. Any
    page could send requests, though not read the answers; they have its origin.

    Args:
        app: what answers the others.
        hosts: the names of this server.
    """

    def __init__(self, app, hosts: Collection[str]):
        self._app, self._hosts = app, sorted(hosts)

    async def __call__(self, scope, receive, send):
        """Answer a request, or have it answered."""
        app = self._app
        if scope["type"] == "http":
            app = self._refusal(Headers(scope=scope), scope["http_version"]) or app
        await app(scope, receive, send)

    def _refusal(self, headers, version):
        hosts = headers.getlist("host")
        if len(hosts) > 1 or (not hosts and version != "1.0"):
            reason = f"a request must have one Host header. Received: {len(hosts)}."
            return error(reason, 400)
        for host in hosts:
            if not self._is_ours(host):
                return error(
                    f"this server listens for {', '.join(self._hosts)} only. Received "
                    f"the host {host[:80]!r}: use one of these; a proxy must send one.",
                    403,
                )
        for origin in headers.getlist("origin"):
            if not self._is_ours(origin.partition("://")[2]):
                return error(
                    "this server answers no web pages but its own. Received the "
                    f"origin {origin[:80]!r}: ask from a program.",
                    403,
                )

    def _is_ours(self, host):
        return re.sub(r":\d*$", "", host).lower() in self._hosts
