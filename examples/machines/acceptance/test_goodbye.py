from service import answer


def test_it_says_goodbye():
    assert answer("/goodbye") == {"said": "goodbye"}
