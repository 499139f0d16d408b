from pathlib import Path

import pytest
from starlette.testclient import TestClient

from shop.app import create_app
from shop.settings import Settings


def test_health_passes_and_names_the_release(client: TestClient) -> None:
    response = client.get("/health")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/health+json"
    assert (response.json()["status"], response.json()["releaseId"]) == ("pass", "abc123")


def test_health_fails_without_the_tables(tmp_path: Path) -> None:
    with TestClient(create_app(Settings(f"sqlite:///{tmp_path}/empty.db"))) as client:
        response = client.get("/health")
    assert (response.status_code, response.json()["status"]) == (503, "fail")
    assert "no such table" in response.json()["checks"]["database:products"][0]["output"]


@pytest.mark.parametrize("path", ["/search?q=lamp", "/health", "/no/such/page"])
def test_every_response_names_the_release(client: TestClient, path: str) -> None:
    assert client.get(path).headers["x-release-id"] == "abc123"


def test_an_error_names_the_release_too(tmp_path: Path) -> None:
    app = create_app(Settings(f"sqlite:///{tmp_path}/empty.db", release_id="abc123"))
    with TestClient(app, raise_server_exceptions=False) as client:
        response = client.get("/search")
    assert (response.status_code, response.headers["x-release-id"]) == (500, "abc123")
