"""The service as an ASGI application: its endpoints, behind its limits."""

from __future__ import annotations

try:
    import fastapi
    import prometheus_client  # noqa: F401  asked here, so that one message says what is missing
    import uvicorn  # noqa: F401
except ModuleNotFoundError as error:
    if error.name not in ("fastapi", "prometheus_client", "uvicorn"):
        raise
    raise ImportError(
        f"the service needs {error.name}, which comes with the extra `serve`: "
        "pip install 'recsys-tutorial[serve]'"
    ) from error

import contextlib
from collections.abc import AsyncIterator

from recsys_tutorial import __version__
from recsys_tutorial.serving.service import errors
from recsys_tutorial.serving.service._routes import people, public
from recsys_tutorial.serving.service._version_routes import versions
from recsys_tutorial.serving.service.limits import Limits
from recsys_tutorial.serving.service.monitoring import Measured
from recsys_tutorial.serving.service.running import Service
from recsys_tutorial.serving.service.settings import Settings


def create_app(settings: Settings) -> fastapi.FastAPI:
    """The application: for uvicorn, or for a test client.

    Versions are loaded and checked when it starts, not here.

    Parameters
    ----------
    settings : Settings

    Returns
    -------
    FastAPI; `app.state.service` is its `Service`
    """
    service = Service(settings)

    @contextlib.asynccontextmanager
    async def lifespan(app: fastapi.FastAPI) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.stop()

    app = fastapi.FastAPI(
        title="Recommender",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own page fetches its scripts from elsewhere
        redoc_url=None,
    )
    app.state.service = service
    for router in (public, versions, people):
        app.include_router(router)
    errors.install(app)
    app.add_middleware(Limits, settings=settings)
    app.add_middleware(Measured, monitor=service.monitor)
    return app
