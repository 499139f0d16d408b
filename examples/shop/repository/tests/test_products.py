from starlette.testclient import TestClient


def test_a_product_has_its_price_with_two_decimals(client: TestClient) -> None:
    expected = {"id": 18, "name": "Cushion", "description": "Feather, 50 by 50 cm", "price": "24.50"}
    assert client.get("/products/18").json() == expected


def test_an_unknown_product_is_not_found(client: TestClient) -> None:
    response = client.get("/products/999")
    assert (response.status_code, response.json()) == (404, {"error": "no such product"})
