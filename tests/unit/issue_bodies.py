"""Issues as GitHub renders them: our own form, and the shapes of those that people filed with forms of other projects.

The shapes (headings, boxes, code blocks, what was left empty) are of real issues; names say where. Words are our own,
where people had written more than a few.
"""

FORM = """### Goal

`GET /v2/search?q=` returns products by name, and 400 for an empty `q`.

### Acceptance

```python
# tests/acceptance/test_search.py
from app import search


def test_search():
    assert search("tea") == ["green tea"]
```

- [ ] `tests/test_list.py::test_all[a b]`
- test/odd.js::is-odd::knows three

### Scope

- `app/**`
docs/search.md

### Changed lines

120

### Environment

production
"""

_BOXES = "- [X] I have searched the issues of this project.\n\n- [X] I have tried the newest version."
REPORTS: dict[str, tuple[str, str, tuple[str, ...], tuple[str, ...]]] = {
    # name: title, body, what stays in the goal, what does not
    "pandas-dev/pandas 57955": (
        "BUG: test",
        f"### Pandas version checks\n\n{_BOXES}\n\n### Reproducible Example\n\n```python\ntest\n```\n\n"
        "### Issue Description\n\ntest\n\n### Installed Versions\n\n<details>\n\nReplace this line\n\n</details>\ntest",
        ("### Reproducible Example\n\n```python\ntest\n```", "### Installed Versions"),
        ("[X]", "version checks"),
    ),
    "pandas-dev/pandas 62233": (
        "BUG:",
        f"### Pandas version checks\n\n{_BOXES.lower()}\n\n### Reproducible Example\n\n"
        "```python\nupdate the sheet\n```\n\n### Issue Description\n\n[](url)\n\n### Expected Behavior\n\n[](url)\n",
        ("[](url)",),
        ("[x]",),
    ),
    "pandas-dev/pandas 43748": (
        "BUG:",
        f"### \n\n{_BOXES}\n\n### Reproducible Example",
        ("Search by name",),
        ("[X]", "Reproducible"),
    ),
    "tadhglewis/issue-status 106": (
        "[BUG] <title>",
        f"### Is there an existing issue for this?\n\n{_BOXES}\n\n### Current Behavior\n\nbla\n\n### Environment\n\n"
        "```markdown\n- OS:\n- Node:\n- npm:\nfervre\n```\n\n### Anything else?\n\nvrwver",
        ("### Environment\n\n```markdown\n- OS:", "vrwver"),
        ("existing issue",),
    ),
    "eddiejaoude/eddiejaoude 98": (
        "[BUG] test",
        "### Steps To Reproduce\n\ntest 3\n\n### Environment\n\n```markdown\n- OS: \n- Node: \ntest 4\n```\n",
        ("test 3", "test 4"),
        (),
    ),
    "livepeer/ui-kit 247": (
        "[bug] test 2",
        f"### Is there an existing issue for this?\n\n{_BOXES}\n\n### Package Version\n\n0.4.0\n\n"
        "### Anything else?\n\ntest",
        ("0.4.0",),
        ("existing issue",),
    ),
    "Anjaliavv51/BoxMerge 5": (
        "🐞[Bug]: a",
        f"### Describe the bug\n\nwd\n\n### Add ScreenShots\n\ndw\n\n### Record\n\n{_BOXES}",
        ("wd", "dw"),
        ("Record",),
    ),
    "home-assistant/core 160164": (
        "Not work today for Home Assistant",
        "### The problem\n\nNot work today\n\n### What version has the issue?\n\ncore-2025.12.5\n\n"
        "### Example YAML snippet\n\n```yaml\n\n```\n\n### Anything in the logs?\n\n```txt\n\n```",
        ("core-2025.12.5",),
        ("YAML", "logs"),
    ),
    "home-assistant/core 38734": (
        "Fffggg",
        "## The problem\n\n## Environment\n\n- Release with the issue: \n- Last working release: \n\n"
        "## Problem-relevant `configuration.yaml`\n\n```yaml\n\n```",
        ("Last working release",),
        ("The problem",),
    ),
    "chocolatey/home 382": (
        "Add the Definition of Done, User Story, and Acceptance Criteria",
        f"### Checklist\n\n{_BOXES}\n\n### Describe The Solution. Why is it needed?\n\nAdd files that define it.\n\n"
        "### Additional Context\n\nn/a\n\n### Related Issues\n\n_No response_",
        ("Add files that define it.", "n/a"),
        ("Checklist", "_No response_"),
    ),
    "niugengyun/agent-gateway 14": (
        "[TASK-004] 建立 GitHub Issues 任务系统",
        "## Scope\n统一 Issue 模板：背景、目标、验收条件、状态。\n\n## Acceptance Criteria\n"
        "- A governing artifact exists\n- Status is tracked\n\nStatus: Committed",
        (),
        (),
    ),
    "BradGroux/veritas-kanban 362": (
        "v5.0 Tasks: Add task readiness gate",
        "## Summary\nAdd a gate for `task`.\n\n## Scope\n- [x] Add a panel.\n- Check for a clear objective.\n\n"
        "## Acceptance Criteria\n- [x] Users can see whether a task is ready.\n",
        (),
        (),
    ),
    "waffleio/waffle.io 2469": (
        "use API endpoint for burndown data",
        "**Acceptance Criteria**\n- [ ] graph service uses the endpoint\n- [x] the graph in the app uses it",
        ("graph service uses the endpoint", "[x] the graph"),
        (),
    ),
}
