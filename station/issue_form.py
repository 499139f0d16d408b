"""`lockgate init --forge`: the issue form that asks people at a hosted forge for what a brief needs. Forgejo and Gitea
read GitHub's, where it is; GitLab has templates in Markdown, whose headings are the same."""

from pathlib import Path

from domain.errors import InputError

PLACE = Path(".github") / "ISSUE_TEMPLATE" / "lockgate.yml"
AT_GITLAB = Path(".gitlab") / "issue_templates" / "lockgate.md"
TEMPLATE = """\
### Goal


### Acceptance

```python
# tests/acceptance/test_NAME.py

```

### Scope


### Changed lines


### Environment

"""
"""Without a word beside the headings: what stands there is read, and what is hidden there is told to everybody."""
FORM = """\
# The headings are read by Lockgate: keep them. It puts on no label: GitHub would do that in the name of whoever opens
# the issue, and only a label by somebody who may write here starts anything.
# https://docs.github.com/communities/using-templates-to-encourage-useful-issues-and-pull-requests/syntax-for-issue-forms
name: A change for Lockgate
description: One small change, and the tests that say when it is done
body:
  - type: markdown
    attributes:
      value: >-
        Somebody who may write here starts it: by the label `lockgate`, or by a comment `/lockgate run`. What stands
        here at that moment counts.
  - type: textarea
    id: goal
    attributes:
      label: Goal
      description: What is true afterwards, with a number, a path, a name or an example that can be observed.
      placeholder: "`GET /v2/search?q=tea` returns the products whose name holds `tea`; without `q` it answers 400."
    validations:
      required: true
  - type: textarea
    id: acceptance
    attributes:
      label: Acceptance
      description: >-
        Tests that fail today and pass then. A code block whose first line is the path of a test file to add, in a
        comment; ids of tests, one a line, such as `tests/test_search.py::test_empty_query`;
        or a code block of the language `sh` with a command that fails today.
      value: |
        ```python
        # tests/acceptance/test_NAME.py

        ```
    validations:
      required: true
  - type: textarea
    id: scope
    attributes:
      label: Scope
      description: Which paths may change, one a line, such as `app/**`. Empty means any.
  - type: input
    id: changed-lines
    attributes:
      label: Changed lines
      description: Added and removed ones at most. Empty means as many as are allowed here.
      placeholder: "200"
  - type: input
    id: environment
    attributes:
      label: Environment
      description: Where it is released, if that is to be named; `none` ends with the merge.
"""


def write_form(repository: str) -> str:
    """Put the form into a work tree, for a person to commit; what to do next, as text.

    Where `repository` is no work tree of this machine, the form itself is given back. One with a `.gitlab-ci.yml` or a
    `.gitlab` gets GitLab's template. Raises InputError if one is there already.
    """
    root = Path(repository)
    if not root.is_dir() or not (root / ".git").exists():
        return FORM
    is_gitlab = any((root / name).exists() for name in (".gitlab-ci.yml", ".gitlab"))
    target, form = (root / AT_GITLAB, TEMPLATE) if is_gitlab else (root / PLACE, FORM)
    if not target.parent.resolve().is_relative_to(root.resolve()):
        raise InputError(f"{target.parent} leads out of the repository: nothing is written there")
    if target.exists() or target.is_symlink():
        raise InputError(f"{target} is there already: remove it first")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(form)
    return (
        f"wrote {target}: read it, and commit it on the default branch. Then name the repository under `issues` of the "
        "workshop, and make the label `lockgate`\n"
    )
