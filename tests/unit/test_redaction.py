"""Redaction: an agent gets none of the bytes of a secret, and what it leaves untouched is as it was, byte for byte."""

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.policy.change_text import TEXT_PERSON_RULES
from domain.redaction import REPLACEMENT, Redaction
from domain.spots import WIDE, Everywhere, SecretSpot, Spot, Spotted, contents_digest, located
from domain.trees import Tree, TreeEntry
from tests.unit.policy_cases import found as findings_of
from tests.unit.policy_cases import tree

TOKEN = "tk_" + "Zx7Kq2Wm9Rt4Yb6Nc8Vd3Lf5"
KEY = "-----BEGIN KEY-----\nMIIEpAIBAAKCAQEA7d\nq9Zp0Ls3Xk8Vn2Bt5Yw1\n-----END KEY-----"
SHORT = "pg4ever1"


def found(files: Tree, path: str, value: str | bytes, line: int = 1, kind: str = "api-key", **more: bool) -> SecretSpot:
    whole = value if isinstance(value, bytes) else value.encode()
    return SecretSpot(path, kind, line, line + whole.count(b"\n"), whole, **more)


def hidden(files: Tree, *secrets: SecretSpot, key: str = "run-1") -> Redaction:
    return Redaction(files, [(files, located(files, secrets))], key=key)


def word(redaction: Redaction, path: str) -> str:
    """The one replacement in a file."""
    words = set(REPLACEMENT.findall(redaction.tree[path].content.decode("utf-8", "replace")))
    assert len(words) == 1, words
    return words.pop()


def test_a_secret_is_replaced_by_a_word_of_its_kind() -> None:
    files = tree({"a.py": f"TOKEN = '{TOKEN}'\n", "b.py": "x = 1\n"})
    seen = hidden(files, found(files, "a.py", TOKEN))
    assert re.fullmatch(rb"TOKEN = 'redacted_api_key_[0-9a-f]{8}'\n", seen.tree["a.py"].content)
    assert seen.tree["b.py"] == files["b.py"]
    assert seen.hides


def test_the_same_value_is_the_same_word_in_a_run_and_another_word_in_another() -> None:
    files = tree({"a.py": f"'{TOKEN}'\n"})
    secret = found(files, "a.py", TOKEN)
    assert word(hidden(files, secret), "a.py") == word(hidden(files, secret), "a.py")
    assert word(hidden(files, secret), "a.py") != word(hidden(files, secret, key="run-2"), "a.py")


def test_a_value_is_hidden_wherever_else_it_stands() -> None:
    files = tree({"a.py": f"T = '{TOKEN}'\n", "notes/b.txt": f"it was {TOKEN}, {TOKEN}\n"})
    seen = hidden(files, found(files, "a.py", TOKEN))
    assert TOKEN.encode() not in b"".join(entry.content for entry in seen.tree.values())
    assert word(seen, "a.py") == word(seen, "notes/b.txt")
    assert seen.restored(seen.tree) == files


def test_a_short_value_is_hidden_on_its_lines_alone() -> None:
    files = tree({"a.yml": "db: app\nurl: db://app:app@db/app\n", "b.txt": "the app\n"})
    seen = hidden(files, found(files, "a.yml", "app", line=2))
    assert seen.tree["a.yml"].content.startswith(b"db: app\nurl: db://redacted_")
    assert seen.tree["b.txt"] == files["b.txt"]
    assert seen.restored(seen.tree) == files


def test_bytes_that_are_no_text_survive() -> None:
    content = b"\x00\xff\xfe" + TOKEN.encode() + b"\r\n\x80"
    files = tree({"a.bin": content})
    seen = hidden(files, found(files, "a.bin", TOKEN))
    assert TOKEN.encode() not in seen.tree["a.bin"].content
    assert seen.restored(seen.tree)["a.bin"].content == content


def test_base64_is_taken_out_whole() -> None:
    run = base64.b64encode(f"user:{TOKEN}".encode()).decode()
    files = tree({"a.yml": f"auth: {run}\nrest: 1\n"})
    seen = hidden(files, found(files, "a.yml", TOKEN, is_encoded=True))
    assert re.fullmatch(rb"auth: redacted_api_key_[0-9a-f]{8}\nrest: 1\n", seen.tree["a.yml"].content)
    assert seen.restored(seen.tree) == files


def test_an_encoded_value_is_not_mistaken_for_the_plain_one_beside_it() -> None:
    run = base64.b64encode(f"user:{TOKEN}".encode()).decode()
    files = tree({"a.yml": f"auth: {run} {TOKEN}\n"})
    seen = hidden(files, found(files, "a.yml", TOKEN), found(files, "a.yml", TOKEN, is_encoded=True))
    assert run.encode() not in seen.tree["a.yml"].content
    assert TOKEN.encode() not in seen.tree["a.yml"].content


INSIDE = {
    "an archive": SecretSpot("a.zip", "api-key", 0, 0, TOKEN.encode()),
    "another place than was said": SecretSpot("a.zip", "api-key", 7, 7, b"elsewhere-elsewhere"),
    "an encoding that is not Base64": SecretSpot("a.zip", "api-key", 1, 1, TOKEN.encode(), is_encoded=True),
}


@pytest.mark.parametrize("name", INSIDE)
def test_a_file_with_a_secret_nobody_can_cut_out_is_withheld_and_says_so(name: str) -> None:
    files = tree({"a.zip": b"PK\x03\x04 packed\x00", "copy/b.zip": b"PK\x03\x04 packed\x00", "c.txt": "c\n"})
    seen = hidden(files, INSIDE[name])
    assert b"a secret is inside of this file" in seen.tree["a.zip"].content
    assert b"PK" not in seen.tree["copy/b.zip"].content
    assert seen.restored(seen.tree) == files


def test_what_the_agent_makes_of_a_withheld_file_is_its_own() -> None:
    files = tree({"a.zip": b"PK\x03\x04"})
    seen = hidden(files, INSIDE["an archive"])
    assert seen.restored(tree({"a.zip": "new\n"}))["a.zip"].content == b"new\n"
    stub = seen.tree["a.zip"].content
    assert seen.restored(tree({"b.zip": stub}))["b.zip"].content == stub, "nothing is filled in elsewhere"
    assert seen.restored({}) == {}


def test_secrets_that_overlap_leave_nothing_between_them() -> None:
    files = tree({"a": f"x {TOKEN}{TOKEN[::-1]} y\n"})
    both = (TOKEN + TOKEN[::-1])[5:40]
    seen = hidden(files, found(files, "a", TOKEN), found(files, "a", both))
    rest = REPLACEMENT.sub("", seen.tree["a"].content.decode())
    assert rest == f"x {TOKEN[::-1][40 - len(TOKEN) :]} y\n"
    assert seen.restored(seen.tree) == files


def test_mode_and_deletions_are_the_agents() -> None:
    files: Tree = {"run.sh": TreeEntry(0o100755, f"T={TOKEN}\n".encode()), "b": TreeEntry(0o100644, b"b")}
    seen = hidden(files, found(files, "run.sh", TOKEN))
    assert seen.tree["run.sh"].mode == 0o100755
    left = {"run.sh": TreeEntry(0o100644, seen.tree["run.sh"].content)}
    assert seen.restored(left) == {"run.sh": TreeEntry(0o100644, files["run.sh"].content)}


def test_a_line_that_moves_in_its_file_keeps_its_secret() -> None:
    files = tree({"a.py": f"import os\nTOKEN = '{TOKEN}'\n"})
    seen = hidden(files, found(files, "a.py", TOKEN, line=2))
    moved = f"def f():\n    API = '{word(seen, 'a.py')}'\n"
    assert seen.restored(tree({"a.py": moved}))["a.py"].content == f"def f():\n    API = '{TOKEN}'\n".encode()


def test_a_word_that_is_there_once_more_than_before_stays_a_word_where_it_is_new() -> None:
    files = tree({"a.py": f"TOKEN = '{TOKEN}'\n"})
    seen = hidden(files, found(files, "a.py", TOKEN))
    there = word(seen, "a.py")
    more = f"send('{there}')\nTOKEN = '{there}'\nlog('{there}')\n"
    expected = f"send('{there}')\nTOKEN = '{TOKEN}'\nlog('{there}')\n"
    assert seen.restored(tree({"a.py": more}))["a.py"].content == expected.encode()


def test_a_word_in_another_file_is_not_filled_in_and_a_person_is_told() -> None:
    files = tree({"a.py": f"TOKEN = '{TOKEN}'\n"})
    seen = hidden(files, found(files, "a.py", TOKEN))
    line = f"send('{word(seen, 'a.py')}')\n"
    left = seen.restored({**seen.tree, **tree({"shop/new.py": line})})
    assert left["a.py"] == files["a.py"]
    assert left["shop/new.py"].content == line.encode()
    told = [f for f in findings_of({"shop/new.py": line}) if f.rule == "redaction-moved"]
    assert [(f.path, f.line, f.severity) for f in told] == [("shop/new.py", 1, "person")]
    assert "redaction-moved" in {rule.name for rule in TEXT_PERSON_RULES}


def test_texts_show_neither_values_nor_the_lines_of_long_ones() -> None:
    files = tree({"a.py": f"TOKEN = '{TOKEN}'\n", "k.pem": f"{KEY}\n", "c.yml": f"url: db://app:{SHORT}@db\n"})
    seen = hidden(
        files, found(files, "a.py", TOKEN), found(files, "k.pem", KEY), found(files, "c.yml", SHORT)
    )  # fmt: skip
    diff = f"-TOKEN = '{TOKEN}'\n+url: db://app:{SHORT}@db\n" + "".join(f"+{line}\n" for line in KEY.split("\n"))
    said = seen.text(f"{diff} {KEY!r} it is {SHORT}, not {SHORT}x\n")
    for secret in (TOKEN, *KEY.split("\n"), f"{SHORT}@", f"{SHORT},"):
        assert secret not in said
    assert f"{SHORT}x" in said, "another word"
    assert word(seen, "a.py") in said


def test_a_patch_leaves_out_files_that_are_withheld() -> None:
    files = tree({"d/a.zip": b"PK", "b.txt": "b\n"})
    seen = hidden(files, SecretSpot("d/a.zip", "api-key", 0, 0, b"x"))
    one = "diff --git a/d/a.zip b/d/a.zip\ndeleted file\n-inside\n"
    two = "diff --git a/b.txt b/b.txt\n-b\n+diff --git a/d/a.zip b/d/a.zip\n"
    odd = 'diff --git "a/\\303\\244" "b/\\303\\244"\n-inside\n'
    said = seen.patch(one + two + odd)
    assert "inside\n" not in said.replace("is inside", "")
    assert two in said


def test_without_secrets_nothing_changes() -> None:
    files = tree({"a": "redacted_api_key_12345678\n"})
    seen = Redaction(files, [(files, ())])
    assert (seen.tree, seen.restored(files), seen.text("x"), seen.patch("x"), seen.hides) == (
        files, files, "x", "x", False,
    )  # fmt: skip


def test_it_never_says_what_it_holds() -> None:
    files = tree({"a": TOKEN})
    secret = found(files, "a", TOKEN)
    assert TOKEN not in repr(secret) + repr(hidden(files, secret))
    spots = located(files, [secret])
    assert TOKEN not in Spotted(findings=(), spots=spots).model_dump_json()


def test_equal_contents_have_one_digest_whatever_their_modes() -> None:
    one: Tree = {"a": TreeEntry(0o100644, b"x"), "b": TreeEntry(0o100644, b"y")}
    assert contents_digest(one) == contents_digest({"b": one["b"], "a": TreeEntry(0o100755, b"x")})
    assert contents_digest(one) != contents_digest({"a": one["a"], "b": TreeEntry(0o100644, b"z")})


@given(st.lists(st.sampled_from([TOKEN, TOKEN[4:], SHORT, "a", "\n", " ", "\r\n", "\x00", "redacted_x_12345678"])))
def test_there_and_back_is_the_same(parts: list[str]) -> None:
    content = "".join(parts)
    files = tree({"f": content, "g": content[::-1]})
    secrets = [found(files, "f", value, line=1 + content[: content.find(value)].count("\n"))
               for value in (TOKEN, SHORT) if value in content]  # fmt: skip
    seen = hidden(files, *secrets)
    assert seen.restored(seen.tree) == files
    assert not secrets or TOKEN.encode() not in seen.tree["f"].content


def test_spots_of_one_file_are_those_of_its_copies() -> None:
    files = tree({"a": f"{TOKEN}\n", "b": f"{TOKEN}\n"})
    seen = Redaction(files, [(files, (Spot(path="a", kind="k", start=0, end=len(TOKEN)),))], key="r")
    assert seen.tree["a"] == seen.tree["b"]


@given(st.binary(min_size=WIDE, max_size=40), st.binary(max_size=40), st.binary(max_size=40))
def test_a_value_is_seen_wherever_it_stands(value: bytes, before: bytes, behind: bytes) -> None:
    everywhere = Everywhere([value, b"another value that is not there"])
    assert everywhere.values_in(before + value + behind) == {value}
    assert value in before + behind or everywhere.values_in(before + behind) == set()
