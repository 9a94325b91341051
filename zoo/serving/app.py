"""The HTTP server's routes: TensorFlow Serving's REST API, a page, and health."""

import asyncio
import base64
import hashlib
import re
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi import Path as InPath
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.requests import ClientDisconnect

from zoo.serving import answers, bodies, images, openapi, rest
from zoo.serving.answers import json
from zoo.serving.card import card
from zoo.serving.errors import Refused, failed, report
from zoo.serving.metrics import Metrics
from zoo.serving.repository import Repository

_LARGE = 64 * 1024  # bytes; what is larger is read or written in another thread
_GONE = 499  # the status of an answer that nobody waits for
_PAGE = Path(__file__).with_name("page.html")

Name = Annotated[str, InPath(description="A model's folder.", pattern="^[^/:]+$")]
Version = Annotated[int, InPath(description="A version's folder.", ge=0, lt=2**63)]


class _Segment(StringConvertor):
    regex = "[^/:]+"  # what stands before :predict, too


register_url_convertor("segment", _Segment())
_MODEL = "/v1/models/{name:segment}"
_VERSION = _MODEL + "/versions/{version:segment}"


def create(
    repository: Repository,
    metrics: Metrics,
    *,
    max_body_bytes: int = bodies.MAX_BYTES,
    max_pixels: int = images.MAX_PIXELS,
    hosts: Collection[str] | None = None,
) -> FastAPI:
    """Return the application.

    Args:
        repository: the models; it may still be loading.
        metrics: what counts the requests.
        max_body_bytes: of a request.
        max_pixels: of the encoded images in a request, before they are decoded.
        hosts: the names by which this server may be called; `None` is any.

    Returns:
        An application for uvicorn. Set its `state.stopping` and it is not ready.
    """
    app = FastAPI(
        **openapi.ABOUT,
        responses=openapi.REFUSED,
        docs_url=None,  # FastAPI's pages need files from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.stopping = False
    reader = bodies.Bodies(max_body_bytes)
    app.include_router(_models(repository))
    app.include_router(_predictions(repository, metrics, reader, max_pixels))
    app.include_router(_operations(repository, metrics, app.state))
    app.include_router(_page())
    answers.explain_errors(app)
    openapi.without_validation(app)
    if hosts is not None:
        app.add_middleware(answers.Hosts, hosts=hosts)
    return app


def _models(repository) -> APIRouter:
    router = APIRouter(responses=openapi.NO_MODEL | openapi.NOT_READY)
    status, metadata = (
        {"responses": openapi.answered(schema)}
        for schema in (openapi.STATUS, openapi.METADATA)
    )

    @router.get(_MODEL, **status)
    async def model_status(name: Name):
        """Tell the states of a model's versions."""
        return json(rest.status(repository.status(name)))

    @router.get(_VERSION, **status)
    async def version_status(name: Name, version: Version):
        """Tell the state of a version."""
        return json(rest.status(repository.status(name, version)))

    @router.get(_MODEL + "/metadata", **metadata)
    async def model_metadata(name: Name):
        """Tell the signatures of a model's newest version."""
        return await _aside(rest.metadata, repository.get(name))

    @router.get(_VERSION + "/metadata", **metadata)
    async def version_metadata(name: Name, version: Version):
        """Tell the signatures of a version."""
        return await _aside(rest.metadata, repository.get(name, version))

    @router.get(_MODEL + "/card", responses=openapi.answered(openapi.CARD))
    async def model_card(name: Name):
        """Tell what the certificate says (TensorFlow Serving has no such path)."""
        return await _aside(card, repository.get(name))

    @router.get("/v1/models", responses=openapi.answered(openapi.MODELS))
    async def models():
        """Name the models (TensorFlow Serving has no such path)."""
        return json({"models": [{"name": name} for name in repository.names()]})

    return router


async def _aside(function, servable) -> Response:
    return json(await asyncio.to_thread(function, servable))


def _predictions(repository, metrics, reader, max_pixels) -> APIRouter:
    router = APIRouter(responses=openapi.NO_MODEL)
    # One thread, so that large bodies take their memory one after the other.
    aside = ThreadPoolExecutor(1, "large-bodies")

    async def call(size, function, *arguments):
        if size <= _LARGE:
            return function(*arguments)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(aside, function, *arguments)

    def read(body, signatures):
        question = rest.question(body, signatures)
        images.check_all(question.inputs, max_pixels)
        return question

    async def answer(request, name, version):
        with metrics.request(name, "rest") as counted:
            try:
                async with reader.read(request) as body:
                    servable = repository.get(name, version)
                    signatures = servable.signatures
                    question = await call(len(body), read, body, signatures)
                    future = servable.submit(question.signature, question.inputs)
                    outputs = await _unless_gone(future, request)
                    size = sum(map(_size, outputs.values()))
                    content = await call(size, rest.answer, outputs, question.rows)
            except ClientDisconnect:
                counted.status = str(_GONE)
                return Response(status_code=_GONE)
            except Refused:
                raise
            except Exception as error:
                report(error)  # once; what runs the application would log each
                raise failed(answers.DEFECT) from None
            return Response(content, headers=answers.JSON)

    @router.post(_MODEL + ":predict", **openapi.PREDICT)
    async def predict(request: Request, name: Name):
        """Answer with a model's newest version."""
        return await answer(request, name, None)

    @router.post(_VERSION + ":predict", **openapi.PREDICT)
    async def predict_by_version(request: Request, name: Name, version: Version):
        """Answer with this version."""
        return await answer(request, name, version)

    return router


def _size(array):
    return sum(map(len, array.flat)) if array.dtype == object else array.nbytes


async def _unless_gone(future, request):
    """Return the result of a future; cancel it if the client hangs up."""
    answered = asyncio.wrap_future(future)
    gone = asyncio.create_task(_hangs_up(request))
    try:
        await asyncio.wait({answered, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not answered.done():
            raise ClientDisconnect
        return answered.result()
    finally:
        answered.cancel()
        gone.cancel()


async def _hangs_up(request):
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _operations(repository, metrics, state) -> APIRouter:
    router = APIRouter()
    health = openapi.answered(openapi.HEALTH)

    @router.head("/healthz", include_in_schema=False)
    @router.get("/healthz", responses=health)
    async def healthz():
        """Tell that the process answers."""
        return json({"status": "alive"})

    @router.head("/readyz", include_in_schema=False)
    @router.get("/readyz", responses=health | openapi.NOT_READY)
    async def readyz():
        """Tell whether requests may be sent here."""
        if state.stopping:
            return answers.error("the server is stopping", 503)
        if repository.loading:
            return answers.error("the models are still loading", 503)
        if not repository.ready:
            return answers.error("no model is served", 503)
        return json({"status": "ready"})

    @router.get("/metrics", responses=openapi.TEXT)
    async def prometheus():
        """Tell Prometheus the numbers."""
        return Response(metrics.text(), headers={"content-type": metrics.content_type})

    return router


def _page() -> APIRouter:
    router = APIRouter()
    text = _PAGE.read_text(encoding="utf8")
    headers = answers.SAFE | {"content-security-policy": _policy(text)}

    @router.head("/", include_in_schema=False)
    @router.get("/", responses=openapi.HTML)
    async def page():
        """Give the page on which to try the models."""
        return Response(text, headers=headers, media_type="text/html")

    return router


def _policy(page):
    script = re.search("<script>(.*?)</script>", page, re.DOTALL).group(1)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return "; ".join(
        [
            "default-src 'none'",  # nothing from elsewhere, nor what is not below
            f"script-src 'sha256-{digest}'",  # the page's own; none that gets into it
            "style-src 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "connect-src 'self'",
            "frame-ancestors 'none'",  # no site shows it as a part of its own
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
