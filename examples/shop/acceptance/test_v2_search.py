"""What `GET /v2/search` must do. Written by the people who asked for it; the change cannot alter it."""

import pytest
from starlette.testclient import TestClient


def search(client: TestClient, **params: str) -> list[dict[str, object]]:
    response = client.get("/v2/search", params=params)
    assert response.status_code == 200, response.text
    results: list[dict[str, object]] = response.json()["results"]
    return results


def names(client: TestClient, **params: str) -> set[object]:
    return {result["name"] for result in search(client, **params)}


def test_the_answer_is_json_with_query_count_and_results(client: TestClient) -> None:
    response = client.get("/v2/search", params={"q": "lamp"})
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("application/json")
    body = response.json()
    assert (body["query"], body["count"], len(body["results"])) == ("lamp", 3, 3)


def test_a_result_has_id_name_and_price(client: TestClient) -> None:
    [result] = search(client, q="cushion")
    assert result == {"id": 18, "name": "Cushion", "price": "24.50"}


def test_names_and_descriptions_match_in_any_case(client: TestClient) -> None:
    assert names(client, q="WOOL") == {"Oak sofa", "Armchair", "Wool rug"}


@pytest.mark.parametrize(("word", "found"), [("couch", "Oak sofa"), ("Settee", "Corner sofa"), ("carpet", "Wool rug")])
def test_a_word_that_customers_use_finds_what_we_call_it(client: TestClient, word: str, found: str) -> None:
    assert found in names(client, q=word)


def test_a_product_is_listed_once(client: TestClient) -> None:
    ids = [result["id"] for result in search(client, q="sofa")]
    assert sorted(set(ids), key=str) == sorted(ids, key=str) != []


def test_nothing_found_is_an_empty_list(client: TestClient) -> None:
    assert search(client, q="submarine") == []


def test_a_wildcard_is_an_ordinary_character(client: TestClient) -> None:
    assert search(client, q="%") == []


def test_the_limit_cuts_the_same_list_short(client: TestClient) -> None:
    assert search(client, q="oak", limit="2") == search(client, q="oak")[:2] != []


@pytest.mark.parametrize(
    "params",
    [{}, {"q": ""}, {"q": "  "}, {"q": "oak", "limit": "0"}, {"q": "oak", "limit": "101"}, {"q": "oak", "limit": "x"}],
    ids=["missing q", "empty q", "blank q", "limit 0", "limit 101", "limit x"],
)
def test_a_bad_request_is_told_so_in_json(client: TestClient, params: dict[str, str]) -> None:
    response = client.get("/v2/search", params=params)
    assert response.status_code == 400
    assert response.headers["content-type"].startswith("application/json")
    assert response.json()["error"]
