from service import answer


def test_it_says_hello():
    assert answer("/hello") == {"said": "hello"}


def test_it_is_well():
    assert answer("/health")["status"] == "pass"
