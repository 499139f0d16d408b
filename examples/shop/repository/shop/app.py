"""The service: its routes, and what it opens and closes."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shop.database import Catalogue
from shop.health import health
from shop.settings import Settings

logging.basicConfig(format="%(name)s: %(message)s")
log = logging.getLogger("shop")


def search(request: Request) -> Response:
    """Version 1: plain text, one product a line. The till reads it, so it stays as it is."""
    catalogue: Catalogue = request.app.state.catalogue
    found = catalogue.search(request.query_params.get("q", ""))
    return PlainTextResponse("".join(f"{product.id}\t{product.price}\t{product.name}\n" for product in found))


def product(request: Request) -> Response:
    catalogue: Catalogue = request.app.state.catalogue
    found = catalogue.get(request.path_params["product_id"])
    if found is None:
        return JSONResponse({"error": "no such product"}, status_code=404)
    return JSONResponse({"id": found.id, "name": found.name, "description": found.description, "price": found.price})


async def broken(request: Request, err: Exception) -> Response:
    """The answer to what nobody expected. Starlette makes it outside the middleware, so it names the release too."""
    log.error("%s failed: %r", request.url.path, err)
    release = request.app.state.settings.release_id
    return JSONResponse({"error": "internal error"}, status_code=500, headers={"X-Release-Id": release})


class ReleaseHeader:
    """Says on every response which release made it."""

    def __init__(self, app: ASGIApp, release_id: str) -> None:
        self._app = app
        self._release_id = release_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Release-Id"] = self._release_id
            await send(message)

        await self._app(scope, receive, send_named)


def create_app(settings: Settings) -> Starlette:
    """A service with `settings`. It needs a migrated database to be healthy, not to start."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        app.state.catalogue.close()

    app = Starlette(
        routes=[
            Route("/search", search),
            Route("/products/{product_id:int}", product),
            Route("/health", health),
        ],
        middleware=[Middleware(ReleaseHeader, release_id=settings.release_id)],
        exception_handlers={Exception: broken},
        lifespan=lifespan,
    )
    app.state.settings = settings
    app.state.catalogue = Catalogue(settings.database_url)
    app.state.checks = {"database:products": app.state.catalogue.problem}
    return app


app = create_app(Settings.from_environment())
