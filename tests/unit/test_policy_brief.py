"""Which briefs are refused, why, and that an honest one is not."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from domain.brief import Acceptance, AcceptanceFile, Brief, Scope
from domain.policy import lint_brief

COMMAND = Acceptance(command="python check.py")
SHOP = Path(__file__).parents[2] / "examples" / "shop"


def brief(goal: str, title: str = "A change to the shop", **fields: Any) -> Brief:
    values: dict[str, Any] = {"repository": "shop.git", "acceptance": COMMAND, **fields}
    return Brief(title=title, goal=goal, **values)


HONEST = (
    "Add a `/v2/search` endpoint that takes a query string and returns JSON, with tests",
    "Fix the crash in parse() and add a test for it",
    "Fix X and add a test for it",
    "Add a logout button to the menu",
    "Improve the latency of `/search` to under 50 ms",
    "Refactor shop/billing.py so that tax lives in its own module",
    "Make parse() faster: 10 MB in less than 2 s",
    "Fix this: the login button does nothing on the second click",
    "Add Polish translations to the invoice",
    "Raise ValueError for a negative amount instead of rounding it",
    "Rename `foo` to `bar` and remove the old alias",
    "Add a `status` column and show it in the list",
    "Support Python 3.13 and drop the `six` dependency",
    "Create the `orders` table and add an index on the table",
    "Add a Basket class and add a `checkout()` method to Basket",
    "Strip spaces and also the trailing dot from names",
    "Add retries with backoff and jitter, and log each retry",
    "Add `--json` and `--quiet` to the `list` command",
    "Add an endpoint to add and remove tags",
    "Create a migration and add the column to the model",
    "Implement search, add tests, update the docs, and fix typos in its docstrings",
    "Clicking twice orders twice.\n\n1. Open /basket\n2. Add an item\n3. Remove it\n\nThe basket should be empty.",
    "Fix login.\n\n1. Add a failing test\n2. Fix the null check\n3. Update the changelog",
    "Add pagination to `/items`. Add `page` and `limit` parameters. Return 400 for a bad `limit`. Add tests.",
    "- Add `GET /a`\n- Return 404 when it is missing\n- Reject a body over 1 MB",
)


@pytest.mark.parametrize("goal", HONEST)
def test_an_honest_goal_passes(goal: str) -> None:
    assert lint_brief(brief(goal), environments=()) == ()


@pytest.mark.parametrize("title", [goal for goal in HONEST if len(goal) < 120 and "\n" not in goal])
def test_an_honest_title_passes(title: str) -> None:
    assert lint_brief(brief("What the title says, for `/search`", title), environments=()) == ()


def test_the_brief_of_the_example_passes() -> None:
    data = tomllib.loads((SHOP / "brief.toml").read_text())
    for file in data["acceptance"]["files"]:
        file["content"] = (SHOP / file.pop("from")).read_text()
    assert lint_brief(Brief.model_validate(data), environments={"shop": "process-target/shop"}) == ()


@pytest.mark.parametrize(
    "goal",
    [
        "make search better",
        "Improve performance",
        "Clean up",
        "Refactor stuff",
        "Fix it",
        "fix all the bugs",
        "Make the site faster and nicer",
        "Get the code more robust",
        "Modernise the front end, e.g. nicer and/or quicker",
        "search",
    ],
)
def test_a_goal_that_nobody_can_observe_is_refused(goal: str) -> None:
    (reason,) = lint_brief(brief(goal), environments=())
    assert "say what is different afterwards" in reason


@pytest.mark.parametrize(
    "goal",
    [
        "Add dark mode and fix the login bug",
        "Add a `/search` endpoint and also a CSV export",
        "Add login, add billing and add an admin panel",
        "Add user avatars and add CSV export of orders",
        "Create a wishlist, then integrate Stripe payments",
        "Add a wishlist plus a loyalty programme",
        "1. Add search\n2. Fix the checkout crash",
        "1. Add search 2. Fix the checkout crash",
        "- Add dark mode\n- Add CSV export\n- Add an audit trail",
        "Implement OAuth login. Add PDF invoices. Migrate to Postgres.",
    ],
)
def test_several_features_in_one_brief_are_refused(goal: str) -> None:
    (reason,) = lint_brief(brief(goal), environments=())
    assert "several changes" in reason
    assert "make one brief of each" in reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"acceptance": Acceptance()}, "name tests under acceptance"),
        (
            {"acceptance": Acceptance(files=(AcceptanceFile(path="tests/test_a.py", content="x = 1\n"),))},
            "no test is in",
        ),
        ({"environment": "prd"}, "did you mean 'prod'?"),
        ({"environment": "moon"}, "known: prod, stage"),
        ({"scope": Scope(paths=("../other/**",))}, "relative to the repository root"),
        ({"scope": Scope(paths=("!shop/**",))}, "matches no path"),
        (
            {
                "acceptance": Acceptance(files=(AcceptanceFile(path="tests/test_a.py", content="def test(): ..."),)),
                "may_change_tests": ("tests/test_a.py",),
            },
            "take it out of may_change_tests",
        ),
    ],
)
def test_what_cannot_be_judged_is_refused(changes: dict[str, Any], reason: str) -> None:
    (given,) = lint_brief(brief("Add a `/search` endpoint", **changes), environments=("stage", "prod"))
    assert reason in given


def test_a_change_without_an_end_is_refused_unless_it_is_scoped() -> None:
    goal = "Rewrite the entire codebase in the style of `app.py`"
    assert "has no end" in lint_brief(brief(goal), environments=())[0]
    assert lint_brief(brief(goal, scope=Scope(paths=("shop/**",))), environments=()) == ()


def test_an_unknown_agent_is_refused() -> None:
    (reason,) = lint_brief(brief("Add a `/search` endpoint", agent="command/x"), environments=(), agents_known=False)
    assert "command/x" in reason


def test_every_fault_is_named_at_once() -> None:
    reasons = lint_brief(brief("Improve things", acceptance=Acceptance(), environment="moon"), environments=())
    assert len(reasons) == 3
