"""Brief rules: what cannot be judged, is not one change, or has no end, is refused before an agent costs anything."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from difflib import get_close_matches
from typing import NamedTuple

from domain.brief import Brief
from domain.policy.features import separate_features
from domain.policy.rule import Hit, Rule, apply
from domain.task import Severity


class LintedBrief(NamedTuple):
    """A brief, and what this platform has to offer for it."""

    brief: Brief
    environments: Collection[str]
    agents_known: bool

    @property
    def text(self) -> str:
        return f"{self.brief.title}\n{self.brief.goal}"


def lint_brief(brief: Brief, *, environments: Collection[str], agents_known: bool = True) -> tuple[str, ...]:
    """Why this brief is not worked on, each with what to do; empty means go."""
    rules = [rule for rule in BRIEF_RULES if not brief.change or rule.name not in OF_A_WISH]
    found = apply(rules, LintedBrief(brief, environments, agents_known))
    return tuple(f"{finding.message}: {finding.fix}" for finding in found)


VAGUE = re.compile(
    r"\b(?:improve|enhance|optimi[sz]e|refactor|streamline|overhaul|revamp|rework|moderni[sz]e|tidy|clean(?:\s?|-)up"
    r"|polish\s+(?:up|the|our)"
    r"|(?:make|get)\b[^.\n]{0,60}?\b(?:better|nicer|faster|cleaner|simpler|smarter|great|good|robust|modern|scalable"
    r"|reliable|maintainable|user[- ]friendly)"
    r"|fix\s+(?:bugs|(?:all|some|the|any)\s+(?:the\s+)?(?:bugs|issues|problems)|issues|stuff|things|everything))\b"
    r"|\bfix\s+(?:it|this)[\s.!]*$",
    re.IGNORECASE | re.MULTILINE,
)

OBSERVABLE = re.compile(
    r"`[^`]+`"  # code
    r"|[\"“‘][^\"”’\n]{2,}[\"”’]|(?<!\w)'[^'\n]{2,}'(?!\w)"  # an example in quotes
    r"|\d"
    r"|(?<!\w)/\w"  # a path or an endpoint
    r"|\b[\w-]+\.(?:py|js|ts|go|rs|java|rb|html?|css|json|ya?ml|toml|md|txt|csv|sql|sh|ini|cfg)\b"
    r"|\b(?!and/or\b)\w+(?:/\w+)+\b|\b\w+_\w+\b|\b\w+\(\)|\b[a-z_]\w+\.[a-z_]\w+\b"  # a/b, snake_case, call(), a_b.c_d
    r"|\b(?!GitHub|GitLab|JavaScript|TypeScript)[A-Z][a-z0-9]+(?:[A-Z][a-z0-9]+)+\b|\b\w+(?:Error|Exception|Warning)\b"
    r"|(?<!\w)--?[a-z][\w-]+"  # an option
    r"|\b(?:GET|POST|PUT|PATCH|DELETE)\b"
    r"|\b(?:returns?|raises?|prints?|exits?|rejects?|ignored?|ignores|instead of)\s+\w+"
)

BOUNDLESS = re.compile(
    r"\b(?:rewrite|refactor|migrate|port|redesign|re-?architect|moderni[sz]e|clean\s?up|document|test|convert|translate)\s+"
    r"(?:\w+\s+){0,4}?(?:everything|(?:whole|entire|full|complete)\s+(?:code\s?base|code|repo(?:sitory)?|project|app|application"
    r"|system|service|site|back\s?end|front\s?end)|all\s+(?:the\s+|our\s+|of\s+(?:the|our)\s+)?(?:code|files|modules))\b"
    r"|\b(?:rewrite|rebuild|start)\b[^.\n]{0,40}\bfrom scratch\b",
    re.IGNORECASE,
)


def _no_acceptance(asked: LintedBrief) -> Iterator[Hit]:
    brief = asked.brief
    if brief.acceptance.is_empty and not (brief.change or brief.is_to_propose):  # `prepare` looks
        yield Hit("nothing says how we will know that it is done")


def _acceptance_without_tests(asked: LintedBrief) -> Iterator[Hit]:
    acceptance = asked.brief.acceptance
    files = acceptance.files
    if not files or acceptance.tests or acceptance.command or not all(f.path.endswith(".py") for f in files):
        return
    if not any(re.search(r"^[^\S\n]*(?:(?:async\s+)?def\s+test|class\s+Test)", f.content, re.MULTILINE) for f in files):
        yield Hit(f"no test is in the acceptance {', '.join(f.path for f in files)}")


def _vague(asked: LintedBrief) -> Iterator[Hit]:
    if OBSERVABLE.search(asked.text):
        return
    if phrase := VAGUE.search(asked.text):
        yield Hit(f"“{' '.join(phrase.group().split())}” cannot be observed")
    elif len(asked.brief.goal.split()) < 3:
        yield Hit(f"the goal “{asked.brief.goal.strip()}” does not say what should be true afterwards")


def _several_features(asked: LintedBrief) -> Iterator[Hit]:
    found = separate_features(asked.brief.title) or separate_features(asked.brief.goal)
    if found:
        yield Hit("these are several changes: " + "; ".join(f"“{feature}”" for feature in found[:4]))


def _boundless(asked: LintedBrief) -> Iterator[Hit]:
    phrase = BOUNDLESS.search(asked.text)
    if phrase and not asked.brief.scope.paths:
        yield Hit(f"“{' '.join(phrase.group().split())}” has no end")


def _environment(asked: LintedBrief) -> Iterator[Hit]:
    wanted = asked.brief.environment
    if wanted is None or wanted in asked.environments:
        return
    near = get_close_matches(wanted, asked.environments, n=1)
    known = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(asked.environments)) or 'none'}"
    yield Hit(f"there is no environment {wanted!r} here ({known})")


def _agent(asked: LintedBrief) -> Iterator[Hit]:
    if not asked.agents_known:
        yield Hit(f"there is no agent {asked.brief.agent!r} here")


def _scope(asked: LintedBrief) -> Iterator[Hit]:
    for glob in (*asked.brief.scope.paths, *asked.brief.may_change_tests):
        if not glob.strip() or glob.startswith(("./", "!", "~")) or ".." in glob.split("/") or "\\" in glob:
            yield Hit(f"the glob {glob!r} matches no path of a repository")


def _protected_acceptance(asked: LintedBrief) -> Iterator[Hit]:
    files = {file.path for file in asked.brief.acceptance.files}
    for glob in asked.brief.may_change_tests:
        if glob in files:
            yield Hit(f"{glob!r} is the acceptance and also a test that may be changed")


OF_A_WISH = ("vague", "several-features", "no-end")
"""They keep an agent from beginning what has no end. A change that was made elsewhere has been done already."""


def _rule(name: str, what: str, why: str, fix: str, check: Callable[[LintedBrief], Iterable[Hit]]) -> Rule[LintedBrief]:
    return Rule(name, "brief", Severity.REFUSE, what, why, fix, check)


BRIEF_RULES: tuple[Rule[LintedBrief], ...] = (
    _rule(
        "no-acceptance",
        "No acceptance test, test id or command.",
        "Without one nobody can tell a done change from an undone one.",
        "name tests under acceptance: test files to add, test ids, or a command that fails today; or set "
        "propose_acceptance, and the agent proposes a test for you to approve",
        _no_acceptance,
    ),
    _rule(
        "empty-acceptance",
        "Acceptance files in Python with no test in any of them.",
        "A file without tests is green whatever the change does.",
        "add a function whose name starts with test, or name a test id",
        _acceptance_without_tests,
    ),
    _rule(
        "vague",
        "Improve, refactor, clean up, make better, with nothing that can be observed: no number, path, endpoint, "
        "code, exception or example.",
        "Every change satisfies it, so none is ever done.",
        "say what is different afterwards, with a number, a path, `code` or an example",
        _vague,
    ),
    _rule(
        "several-features",
        "Two or more requests that share no subject, in a sentence, in a list or in the title.",
        "They are reviewed, merged and rolled back together, and one that fails holds up the other.",
        "make one brief of each",
        _several_features,
    ),
    _rule(
        "no-end",
        "The whole code base, everything, or from scratch, with no scope.",
        "It cannot be done within a budget of changed lines, and nobody can review it.",
        "name the paths under scope, or one module at a time",
        _boundless,
    ),
    _rule(
        "unknown-environment",
        "An environment that the workshop does not have.",
        "There is nowhere to release it.",
        "choose a known one, add it to the workshop's targets, or leave it empty to end with a merge",
        _environment,
    ),
    _rule(
        "unknown-agent",
        "An agent block that does not exist.",
        "Nobody can do the work.",
        "choose an agent block as kind/name, or make it under Blocks",
        _agent,
    ),
    _rule(
        "impossible-glob",
        "A glob in scope.paths or may_change_tests that can match nothing: empty, negated, or with `..`.",
        "The person meant something by it, and it would quietly mean nothing.",
        "write it relative to the repository root, such as shop/** or tests/test_search.py",
        _scope,
    ),
    _rule(
        "acceptance-may-change",
        "An acceptance file named in may_change_tests.",
        "The change could then alter how it is judged.",
        "take it out of may_change_tests",
        _protected_acceptance,
    ),
)
