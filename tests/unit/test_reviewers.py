"""Who must approve what: CODEOWNERS of base in GitHub's and GitLab's ways, teams, and who is left."""

import pytest

from domain.policy.reviewers import MAX_BYTES, canonical_name, may_approve, missing, needs, owned, owners_of, parse
from domain.project import ReviewPolicy
from domain.task import Need, Prepared
from domain.trees import LINK, TreeEntry
from tests.unit.policy_cases import prepared, tree

GITHUB = r"""
# comment
*                      @global
*.js                   @js-owner #an inline comment
/build/logs/           @logs
docs/*                 docs@example.com
apps/                  @octocat
/scripts/              @doctocat @octocat
**/logs                @logger
/apps/github
with\ space/**/deep.py @space
/src/*/api             @api
!/apps/secret          @nobody
"""

GITLAB = """
* @everyone
relative/README.md @writers

[Database][2] @dba @dbb @dbc
model/db/
config/db/database.yml @docs

^[Optional]
*.rb @rubyist

[database]
*.sql

[Docs] @writers
docs/ @@maintainer
"""


def who(text: str, path: str, *, gitlab: bool = False) -> set[tuple[str, ...]]:
    owners = owners_of(tree({".gitlab/CODEOWNERS" if gitlab else "CODEOWNERS": text}))
    return {line.owners for _, _, line, _ in owned(owners, [path])}


@pytest.mark.parametrize(
    ("path", "owner"),
    [
        ("README.md", "@global"),
        ("shop/app.js", "@js-owner"),
        ("build/logs/a/b.txt", "@logger"),
        ("build/logs.txt", "@global"),
        ("docs/getting-started.md", "docs@example.com"),
        ("docs/build-app/troubleshooting.md", "@global"),
        ("sub/docs/a.md", "@global"),
        ("sub/apps/x.py", "@octocat"),
        ("deep/logs/x", "@logger"),
        ("apps/github/x.py", None),
        ("apps/github", None),
        ("with space/a/b/deep.py", "@space"),
        ("with space/deep.py", "@space"),
        ("src/one/api/x.py", "@api"),
        ("src/one/two/api/x.py", "@global"),
        ("apps/secret/x", "@octocat"),
    ],
)
def test_the_last_line_that_matches_says_who_owns_a_path(path: str, owner: str | None) -> None:
    assert who(GITHUB, path) == ({(owner,)} if owner else set())


def test_several_owners_of_a_line_are_all_known() -> None:
    assert who(GITHUB, "scripts/run.sh") == {("@doctocat", "@octocat")}


@pytest.mark.parametrize(
    ("path", "owners"),
    [
        ("a.txt", {("@everyone",)}),
        ("deep/relative/README.md", {("@writers",)}),
        ("deep/model/db/x.py", {("@everyone",), ("@dba", "@dbb", "@dbc")}),
        ("config/db/database.yml", {("@everyone",), ("@docs",)}),
        ("a.rb", {("@everyone",)}),
        ("a.sql", {("@everyone",), ("@dba", "@dbb", "@dbc")}),
        ("docs/a.md", {("@everyone",), ("@@maintainer",)}),
    ],
)
def test_each_section_has_its_say_and_optional_ones_have_none(path: str, owners: set[tuple[str, ...]]) -> None:
    assert who(GITLAB, path, gitlab=True) == owners


def test_a_section_that_is_required_anywhere_is_required() -> None:
    assert len(parse("^[A]\n*.a @a\n[a]\n*.b @b\n")) == 2
    assert len(parse("^[A]\n*.a @a\n")) == 1


def ready(*, source: str = "lockgate.toml", reviewers: tuple[str, ...] = (), **teams: tuple[str, ...]) -> Prepared:
    policy = ReviewPolicy(teams={f"@org/{name}": members for name, members in teams.items()})
    return prepared(reviewers=reviewers, review=policy).model_copy(update={"settings_source": source})


def asked(text: str, *paths: str, settings: Prepared | None = None) -> dict[tuple[str, ...], tuple[str, ...]]:
    found = needs(settings or ready(), owners_of(tree({"CODEOWNERS": text})), paths)
    return {need.names: need.paths for need in found}


def test_without_owners_and_reviewers_anyone_may_approve() -> None:
    assert asked("", "a.py") == {}
    assert may_approve((), "ann")


def test_each_path_needs_one_of_its_owners() -> None:
    text = "/auth/ @ann @bob\n/ci/ @eve\n"
    assert asked(text, "auth/a.py", "auth/b.py", "ci/x.yml", "free.py") == {
        ("ann", "bob"): ("auth/a.py", "auth/b.py"),
        ("eve",): ("ci/x.yml",),
    }


def test_the_settings_reviewers_stand_for_what_nobody_owns() -> None:
    settings = ready(reviewers=("zoe",))
    assert asked("/auth/ @ann\n", "auth/a.py", settings=settings) == {("ann",): ("auth/a.py",)}
    assert asked("/auth/ @ann\n", "auth/a.py", "b.py", settings=settings) == {
        ("ann",): ("auth/a.py",),
        ("zoe",): ("b.py",),
    }
    assert asked("/auth/\n", "auth/a.py", settings=settings) == {("zoe",): ("auth/a.py",)}
    assert ("zoe",) in asked("", settings=settings)


def test_a_team_stands_for_its_members_where_base_lists_them_and_else_for_itself() -> None:
    text = "* @org/web @org/data\n"
    assert asked(text, "a", settings=ready(web=("ann", "bob"))) == {("ann", "bob", "org/data"): ("a",)}
    assert asked(text, "a", settings=ready(web=())) == {("org/web", "org/data"): ("a",)}
    assert asked(text, "a", settings=ready(source="the brief", web=("mallory",))) == {("org/web", "org/data"): ("a",)}


def test_two_paths_with_two_owners_need_both() -> None:
    found = needs(ready(), owners_of(tree({"CODEOWNERS": "a @ann\nb @bob\n"})), ("a", "b"))
    assert not missing(found, ("ann", "bob"))
    assert [need.names for need in missing(found, ("ann",))] == [("bob",)]
    assert missing(found, ()) == missing(found, ("mallory",)) == found


def test_two_of_a_section_are_two_people_and_never_more_than_there_are() -> None:
    found = needs(ready(), owners_of(tree({"CODEOWNERS": "[DB][2] @dba @dbb @DBA\n*.sql\n"})), ("a.sql",))
    assert found[0].count == 2
    assert missing(found, ("dba", "@DBA")) == found
    assert not missing(found, ("dba", "dbb"))
    only = needs(ready(), owners_of(tree({"CODEOWNERS": "[DB][3] @dba\n*.sql\n"})), ("a.sql",))
    assert not missing(only, ("dba",))


def test_names_are_compared_as_forges_do_and_nobody_is_called_policy() -> None:
    need = Need(names=("Ann",), why="CODEOWNERS line 1", paths=("a",))
    assert may_approve((need,), " @ann ")
    assert not may_approve((need,), "an")
    assert not may_approve((), "Policy")
    assert not may_approve((Need(names=("policy",), why="x", paths=("a",)),), "@policy")
    assert not may_approve((), " @ ")
    assert canonical_name("@@maintainer") != canonical_name("maintainer")


def test_every_file_has_its_say_and_links_lead_inside() -> None:
    files = {
        ".github/CODEOWNERS": "* @ann\n",
        "docs/CODEOWNERS": "* @bob\n",
        "CODEOWNERS": TreeEntry(LINK, b".github/CODEOWNERS"),
    }
    owners = owners_of(tree(files))
    assert {(place, line.owners) for _, place, line, _ in owned(owners, ["x"])} == {
        (".github/CODEOWNERS", ("@ann",)),
        ("docs/CODEOWNERS", ("@bob",)),
        ("CODEOWNERS", ("@ann",)),
    }
    assert owners.problems == ()


@pytest.mark.parametrize(
    "entry",
    [b"\xff\xfe*", TreeEntry(LINK, b"../../etc/passwd"), TreeEntry(LINK, b"CODEOWNERS"), b"#" * (MAX_BYTES + 1)],
    ids=["no text", "a link outside", "a link to itself", "too large"],
)
def test_what_cannot_be_read_is_said(entry: bytes | TreeEntry) -> None:
    owners = owners_of(tree({"CODEOWNERS": entry}))
    assert not owners.files
    assert len(owners.problems) == 1
    assert "CODEOWNERS on base cannot be read" in owners.problems[0]


def test_a_need_is_told_in_a_line() -> None:
    need = Need(names=("ann", "bob"), why="CODEOWNERS line 3", paths=("a", "b", "c", "d", "e"))
    assert need.sentence == "ann or bob must approve a, b, c and 2 more (CODEOWNERS line 3)"
    assert need.model_copy(update={"count": 2}).sentence.startswith("2 of ann, bob must approve")
