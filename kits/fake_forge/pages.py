"""Pages for people: repositories, issues, pull requests. They only show; nothing is done on them."""

import re
from typing import NamedTuple

from jinja2 import Environment

from kits.fake_forge.forge import ForgeState
from kits.fake_forge.store import Doc

# Everything that is shown was written by somebody else: no script runs, nothing is fetched.
HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'", "X-Frame-Options": "DENY"}

_FRAME = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{ title }}</title><style>
body { font: 16px/1.5 sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #1f2328; background: #fff }
article { border: 1px solid #d0d7de; border-radius: 6px; margin: 1rem 0; padding: .5rem 1rem }
header { color: #59636e; font-size: .9rem } pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .5rem 0 }
td { padding: .2rem 1rem .2rem 0 }
b.state { padding: .1rem .6rem; border-radius: 1rem; color: #fff; background: #1a7f37 }
b.closed { background: #cf222e } b.merged { background: #8250df } b.draft { background: #59636e } a { color: #0969da }
.added { background: #dafbe1 } .removed { background: #ffebe9 }
</style><p><a href="/">fake forge</a>{% if name %} / <a href="/{{ name }}">{{ name }}</a>{% endif %}</p>
<h1>{{ title }}</h1>"""

_PAGES = Environment(autoescape=True)
_HOME = _PAGES.from_string(
    _FRAME
    + '{% for repo in repos %}<p><a href="/{{ repo }}">{{ repo }}</a></p>{% else %}<p>No repository.</p>{% endfor %}'
)
_REPOSITORY = _PAGES.from_string(
    _FRAME
    + """{% for group, items in groups %}<h2>{{ group }}</h2><table>{% for item in items %}
<tr><td>#{{ item.number }}<td><a href="/{{ name }}/{{ item.page }}/{{ item.number }}">{{ item.title }}</a>
<td>{{ item.state }}<td>{{ item.user }}</tr>{% else %}<tr><td>None.</tr>{% endfor %}</table>{% endfor %}"""
)
_ISSUE = _PAGES.from_string(
    _FRAME
    + """<p><b class="state {{ state }}">{{ state }}</b> #{{ issue.number }} by {{ issue.user }}{% if pull %}, wants
<code>{{ pull.head_ref }}</code> ({{ pull.head_sha[:10] }}) in <code>{{ pull.base_ref }}</code>{% endif %}
{% for label in labels %}<code>{{ label }}</code> {% endfor %}</p>
<article><header>{{ issue.user }}, {{ issue.created_at }}</header><pre>{{ issue.body or "No text." }}</pre></article>
{% for entry in entries %}<article id="{{ entry.anchor }}">
<header>{{ entry.user }} {{ entry.what }}, {{ entry.at }}</header>
{% if entry.body %}<pre>{{ entry.body }}</pre>{% endif %}</article>{% endfor %}
{% if pull %}<h2>Checks</h2><table>{% for check in checks %}<tr><td>{{ check.name }}<td>{{ check.state }}
<td>{{ check.text or "" }}</tr>{% else %}<tr><td>None.</tr>{% endfor %}</table>
{% if asked %}<p>Review asked of {{ asked | join(", ") }}.</p>{% endif %}
<h2>Changes</h2>{% for change in changes %}<h3>{{ change.path }} ({{ change.status }})</h3>
<pre>{% for line in change.patch.splitlines() -%}
<span class="{{ {"+": "added", "-": "removed"}[line[0:1]] }}">{{ line }}</span>
{% endfor %}</pre>{% endfor %}{% endif %}"""
)


class Page(NamedTuple):
    status: int
    html: str


def show(forge: ForgeState, path: str) -> Page | None:
    """The page of a path: public repositories alone. None: it is no page's path."""
    if path == "/":
        repos = [f"{repo['owner']}/{repo['name']}" for repo in forge.store.find("repository") if not repo["private"]]
        return Page(200, _HOME.render(title="Repositories", repos=repos))
    match = re.fullmatch(r"/([^/]+)/([^/]+)(?:/(pull|issues)/(\d+))?/?", path)
    if match is None:
        return None
    repo = forge.find_repository(match[1], match[2])
    if repo is None or repo["private"]:
        return Page(404, _PAGES.from_string(_FRAME).render(title="Not found"))
    if match[4] is None:
        return _repository(forge, repo)
    issue = forge.store.one("issue", repo=repo["id"], number=int(match[4]))
    if issue is None:
        return Page(404, _PAGES.from_string(_FRAME).render(title="Not found"))
    return _issue(forge, repo, issue)


def _repository(forge: ForgeState, repo: Doc) -> Page:
    items = [
        {**issue, "page": "pull" if issue["pull"] else "issues"}
        for issue in forge.store.find("issue", repo=repo["id"])[::-1]
    ]
    pulls, issues = [i for i in items if i["pull"]], [i for i in items if not i["pull"]]
    name = f"{repo['owner']}/{repo['name']}"
    groups = [("Pull requests", pulls[:200]), ("Issues", issues[:200])]
    return Page(200, _REPOSITORY.render(title=name, name=name, groups=groups))


def _issue(forge: ForgeState, repo: Doc, issue: Doc) -> Page:
    store, number = forge.store, issue["number"]
    where = {"repo": repo["id"], "number": number}
    pull = store.one("pull", **where)
    entries = [
        {
            "anchor": f"issuecomment-{c['id']}",
            "user": c["user"],
            "what": "said",
            "at": c["created_at"],
            "body": c["body"],
        }
        for c in store.find("comment", **where)
    ]
    for review in store.find("review", **where):
        if review["submitted_at"]:
            what = review["state"].lower().replace("_", " ") + f" at {review['commit'][:10]}"
            entries.append(
                {
                    "anchor": f"pullrequestreview-{review['id']}",
                    "user": review["user"],
                    "what": what,
                    "at": review["submitted_at"],
                    "body": review["body"],
                }
            )
    for comment in store.find("review_comment", **where):
        what = f"at {comment['path']}, line {comment['original_line']}" + (
            " (resolved)" if comment.get("resolved_by") else ""
        )
        entries.append(
            {
                "anchor": f"discussion_r{comment['id']}",
                "user": comment["user"],
                "what": what,
                "at": comment["created_at"],
                "body": comment["body"],
            }
        )
    entries.sort(key=lambda entry: entry["at"])
    names = {label["id"]: label["name"] for label in store.find("label", repo=repo["id"])}
    shown = {
        "name": f"{repo['owner']}/{repo['name']}",
        "title": issue["title"],
        "issue": issue,
        "state": issue["state"],
        "entries": entries,
        "labels": [names[identity] for identity in issue["labels"] if identity in names],
    }
    if pull:
        git = forge.git(repo)
        sha = pull["head_sha"]
        statuses = {s["context"]: s for s in store.find("status", repo=repo["id"], sha=sha)}
        checks = [{"name": n, "state": s["state"], "text": s["description"]} for n, s in statuses.items()]
        for run in store.find("check_run", repo=repo["id"], sha=sha):
            text = (run.get("output") or {}).get("title")
            checks.append({"name": run["name"], "state": run.get("conclusion") or run["status"], "text": text})
        base = git.merge_base(pull["base_sha"], sha) or pull["base_sha"]
        shown |= {
            "pull": pull,
            "checks": checks,
            "asked": pull["requested_reviewers"],
            "changes": git.changes(base, sha)[:100],
        }
        shown["state"] = (
            "merged" if pull["merged_at"] else "draft" if pull["draft"] and issue["state"] == "open" else issue["state"]
        )
    return Page(200, _ISSUE.render(**shown))
