"""Version 1 of the search, which the till reads."""

from starlette.testclient import TestClient


def names(client: TestClient, q: str) -> list[str]:
    return [line.split("\t")[2] for line in client.get("/search", params={"q": q}).text.splitlines()]


def test_a_line_has_id_price_and_name(client: TestClient) -> None:
    response = client.get("/search", params={"q": "desk lamp"})
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain")
    assert response.text == "7\t59.00\tDesk lamp\n"


def test_the_name_matches_in_any_case(client: TestClient) -> None:
    assert names(client, "LAMP") == names(client, "lamp") != []


def test_the_description_matches_too(client: TestClient) -> None:
    assert "Armchair" in names(client, "wool")


def test_results_are_sorted_by_name(client: TestClient) -> None:
    assert names(client, "oak") == ["Mirror", "Oak dining table", "Oak sofa", "Wall shelf"]


def test_an_empty_query_gives_every_product(client: TestClient) -> None:
    assert len(names(client, "")) == 20


def test_nothing_found_is_an_empty_answer(client: TestClient) -> None:
    response = client.get("/search", params={"q": "submarine"})
    assert (response.status_code, response.text) == (200, "")


def test_a_wildcard_is_an_ordinary_character(client: TestClient) -> None:
    assert names(client, "%") == names(client, "_") == []
