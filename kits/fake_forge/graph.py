"""The GraphQL that REST lacks: review threads, drafts, when an issue was edited. The names are of GitHub's schema.

https://docs.github.com/graphql/reference
"""

import base64
from collections.abc import Callable
from typing import Any

from graphql import GraphQLError, build_schema, graphql_sync

from kits.fake_forge import access
from kits.fake_forge.answers import ForgeAnswer, Refusal
from kits.fake_forge.ask import ForgeRequest
from kits.fake_forge.endpoints.pulls import mergeable_state, set_draft
from kits.fake_forge.endpoints.reviews import comments_of, resolve_thread, thread_id
from kits.fake_forge.store import Doc
from kits.fake_forge.views import node_id

SCHEMA = build_schema(
    """
scalar DateTime
scalar GitObjectID
scalar URI
interface Node { id: ID! }
interface Actor { login: String! }
type User implements Node & Actor { id: ID!, login: String!, databaseId: Int }
type Bot implements Node & Actor { id: ID!, login: String!, databaseId: Int }
type PageInfo { hasNextPage: Boolean!, hasPreviousPage: Boolean!, startCursor: String, endCursor: String }
type PullRequestReviewComment implements Node {
  id: ID!, databaseId: Int, body: String!, path: String!, author: Actor, createdAt: DateTime!, url: URI!
}
type PullRequestReviewCommentConnection {
  nodes: [PullRequestReviewComment], pageInfo: PageInfo!, totalCount: Int!
}
type PullRequestReviewThread implements Node {
  id: ID!, isResolved: Boolean!, isOutdated: Boolean!, path: String!, line: Int, startLine: Int, resolvedBy: User
  comments(first: Int, after: String): PullRequestReviewCommentConnection!, pullRequest: PullRequest!
}
type PullRequestReviewThreadConnection { nodes: [PullRequestReviewThread], pageInfo: PageInfo!, totalCount: Int! }
enum PullRequestState { OPEN CLOSED MERGED }
enum PullRequestReviewDecision { APPROVED CHANGES_REQUESTED REVIEW_REQUIRED }
enum MergeableState { CONFLICTING MERGEABLE UNKNOWN }
type PullRequest implements Node {
  id: ID!, number: Int!, title: String!, isDraft: Boolean!, state: PullRequestState!, headRefOid: GitObjectID!
  body: String!, lastEditedAt: DateTime
  headRefName: String!, baseRefName: String!, url: URI!, mergeable: MergeableState!
  reviewDecision: PullRequestReviewDecision
  reviewThreads(first: Int, after: String): PullRequestReviewThreadConnection!
}
enum IssueState { OPEN CLOSED }
type Issue implements Node {
  id: ID!, number: Int!, title: String!, body: String!, state: IssueState!, url: URI!, author: Actor
  createdAt: DateTime!, updatedAt: DateTime!, lastEditedAt: DateTime, editor: Actor
}
type Repository implements Node {
  id: ID!, name: String!, nameWithOwner: String!, pullRequest(number: Int!): PullRequest, issue(number: Int!): Issue
}
input ResolveReviewThreadInput { threadId: ID!, clientMutationId: String }
input UnresolveReviewThreadInput { threadId: ID!, clientMutationId: String }
type ResolveReviewThreadPayload { thread: PullRequestReviewThread, clientMutationId: String }
type UnresolveReviewThreadPayload { thread: PullRequestReviewThread, clientMutationId: String }
input MarkPullRequestReadyForReviewInput { pullRequestId: ID!, clientMutationId: String }
input ConvertPullRequestToDraftInput { pullRequestId: ID!, clientMutationId: String }
type MarkPullRequestReadyForReviewPayload { pullRequest: PullRequest, clientMutationId: String }
type ConvertPullRequestToDraftPayload { pullRequest: PullRequest, clientMutationId: String }
type Query {
  viewer: User!, repository(owner: String!, name: String!, followRenames: Boolean): Repository, node(id: ID!): Node
}
type Mutation {
  resolveReviewThread(input: ResolveReviewThreadInput!): ResolveReviewThreadPayload
  unresolveReviewThread(input: UnresolveReviewThreadInput!): UnresolveReviewThreadPayload
  markPullRequestReadyForReview(input: MarkPullRequestReadyForReviewInput!): MarkPullRequestReadyForReviewPayload
  convertPullRequestToDraft(input: ConvertPullRequestToDraftInput!): ConvertPullRequestToDraftPayload
}
"""
)


def answer(ask: ForgeRequest) -> ForgeAnswer:
    """200 with data, or with errors in the body, as GraphQL has it."""
    if not ask.actor.login or ask.actor.kind == "app":
        raise Refusal(401, "This endpoint requires you to be authenticated.")
    query = ask.body.get("query")
    if not isinstance(query, str):
        raise Refusal(400, "A query attribute must be specified and must be a string.")
    done = graphql_sync(
        SCHEMA,
        query,
        root_value=_Root(ask).values(),
        variable_values=ask.body.get("variables") or {},
        operation_name=ask.body.get("operationName"),
    )
    body: Doc = {} if done.data is None else {"data": done.data}
    if done.errors:
        body["errors"] = [_error(error) for error in done.errors]
    return ForgeAnswer(200, body)


class _Root:
    """Values and functions by the names of the schema."""

    def __init__(self, ask: ForgeRequest) -> None:
        self.ask = ask

    def values(self) -> Doc:
        return {
            "viewer": lambda _: self.actor(self.ask.login),
            "repository": self.repository,
            "node": lambda _, id: self.node(id),
            "resolveReviewThread": lambda _, input: self.resolve(input, True),
            "unresolveReviewThread": lambda _, input: self.resolve(input, False),
            "markPullRequestReadyForReview": lambda _, input: self.draft(input, False),
            "convertPullRequestToDraft": lambda _, input: self.draft(input, True),
        }

    def actor(self, login: str | None) -> Doc | None:
        user = self.ask.store.one("user", key=login) if login else None
        if user is None:
            return None
        kind = "Bot" if user["type"] == "Bot" else "User"
        return {"__typename": kind, "id": node_id(user), "login": login, "databaseId": user["id"]}

    def repository(self, _: Any, owner: str, name: str, followRenames: bool = True) -> Doc:
        repo = self.ask.forge.find_repository(owner, name)
        if repo is None or not access.can_see(self.ask.store, self.ask.actor, repo):
            raise _Missing(f"Could not resolve to a Repository with the name '{owner}/{name}'.")

        def pull(_: Any, number: int) -> Doc:
            found = self.ask.store.one("pull", repo=repo["id"], number=number)
            if found is None:
                raise _Missing(f"Could not resolve to a PullRequest with the number of {number}.")
            return self.pull(found)

        def issue(_: Any, number: int) -> Doc:
            found = self.ask.store.one("issue", repo=repo["id"], number=number)
            if found is None or found["pull"]:
                raise _Missing(f"Could not resolve to an Issue with the number of {number}.")
            return self.issue(repo, found)

        full = f"{repo['owner']}/{repo['name']}"
        return {
            "__typename": "Repository",
            "id": node_id(repo),
            "name": repo["name"],
            "nameWithOwner": full,
            "pullRequest": pull,
            "issue": issue,
        }

    def node(self, identity: str) -> Doc:
        kind, doc = self._find(identity)
        self._enter(doc)
        if kind == "thread":
            return self.thread(doc)
        if kind == "pull":
            return self.pull(doc)
        raise _Missing(f"Could not resolve to a node with the global id of '{identity}'")

    def issue(self, repo: Doc, issue: Doc) -> Doc:
        return {
            "__typename": "Issue",
            "id": node_id(issue),
            "number": issue["number"],
            "title": issue["title"],
            "body": issue["body"] or "",
            "state": issue["state"].upper(),
            "url": f"{self.ask.views.html(repo)}/issues/{issue['number']}",
            "author": self.actor(issue["user"]),
            "createdAt": issue["created_at"],
            "updatedAt": issue["updated_at"],
            "lastEditedAt": issue.get("edited_at"),
            "editor": self.actor(issue.get("editor")),
        }

    def pull(self, pull: Doc) -> Doc:
        store = self.ask.store
        repo = store.get("repository", pull["repo"])
        self.ask.repo = repo
        issue = store.one("issue", repo=repo["id"], number=pull["number"])
        roots = [
            comment
            for comment in store.find("review_comment", repo=repo["id"], number=pull["number"])
            if not comment.get("reply_to") and not comment.get("pending")
        ]
        merge = mergeable_state(self.ask, pull) if pull["looked"] else None
        return {
            "__typename": "PullRequest",
            "id": node_id(pull),
            "number": pull["number"],
            "title": issue["title"],
            "body": issue["body"] or "",
            "lastEditedAt": issue.get("edited_at"),
            "isDraft": pull["draft"],
            "state": "MERGED" if pull["merged_at"] else issue["state"].upper(),
            "headRefOid": pull["head_sha"],
            "headRefName": pull["head_ref"],
            "baseRefName": pull["base_ref"],
            "url": f"{self.ask.views.html(repo)}/pull/{pull['number']}",
            "mergeable": "UNKNOWN" if merge is None else "MERGEABLE" if merge.mergeable else "CONFLICTING",
            "reviewDecision": None,
            "reviewThreads": _connection([self.thread(root) for root in roots]),
        }

    def thread(self, root: Doc) -> Doc:
        comments = [self.comment(comment) for comment in comments_of(self.ask, root)]
        return {
            "__typename": "PullRequestReviewThread",
            "id": thread_id(root),
            "isResolved": bool(root.get("resolved_by")),
            "isOutdated": root["position"] is None,
            "path": root["path"],
            "line": root["line"],
            "startLine": root.get("start_line"),
            "resolvedBy": self.actor(root.get("resolved_by")),
            "comments": _connection(comments),
            "pullRequest": lambda _: self.pull(self.ask.store.one("pull", repo=root["repo"], number=root["number"])),
        }

    def comment(self, comment: Doc) -> Doc:
        repo = self.ask.store.get("repository", comment["repo"])
        return {
            "id": node_id(comment),
            "databaseId": comment["id"],
            "body": comment["body"],
            "path": comment["path"],
            "author": self.actor(comment["user"]),
            "createdAt": comment["created_at"],
            "url": f"{self.ask.views.html(repo)}/pull/{comment['number']}#discussion_r{comment['id']}",
        }

    def resolve(self, given: Doc, resolved: bool) -> Doc:
        kind, root = self._find(given["threadId"])
        if kind != "thread":
            raise _Missing(f"Could not resolve to a node with the global id of '{given['threadId']}'")
        self._enter(root, "pull_requests:write")
        resolve_thread(self.ask, root, resolved)
        return {"thread": self.thread(root), "clientMutationId": given.get("clientMutationId")}

    def draft(self, given: Doc, draft: bool) -> Doc:
        kind, pull = self._find(given["pullRequestId"])
        if kind != "pull":
            raise _Missing(f"Could not resolve to a node with the global id of '{given['pullRequestId']}'")
        self._enter(pull, "pull_requests:write")
        if pull["user"] != self.ask.login and not access.may(
            self.ask.store, self.ask.actor, self.ask.repo, "write", "pull_requests:write"
        ):
            raise Refusal(
                403,
                f"{self.ask.login} does not have the correct permissions to execute `MarkPullRequestReadyForReview`",
            )
        set_draft(self.ask, pull, draft)
        return {"pullRequest": self.pull(pull), "clientMutationId": given.get("clientMutationId")}

    def _find(self, identity: str) -> tuple[str, Doc]:
        missing = _Missing(f"Could not resolve to a node with the global id of '{identity}'")
        try:
            kind, _, number = base64.b64decode(identity, validate=True).decode().partition(":")
            doc = self.ask.store.get({"thread": "review_comment"}.get(kind, kind), int(number))
        except ValueError:
            raise missing from None
        if doc is None or "repo" not in doc:
            raise missing
        return kind, doc

    def _enter(self, doc: Doc, grant: str | None = None) -> None:
        """The repository of a node, if the actor may see it (and its token may do this in it)."""
        repo = self.ask.store.get("repository", doc["repo"])
        actor = self.ask.actor
        if repo is None or not access.can_see(self.ask.store, actor, repo):
            raise _Missing("Could not resolve to a node with the global id given")
        if (
            grant
            and actor.kind in ("fine", "installation")
            and not (access.reaches(actor, repo) and access.grants(actor, grant))
        ):
            what = "integration" if actor.kind == "installation" else "personal access token"
            raise Refusal(403, f"Resource not accessible by {what}")
        self.ask.repo = repo


class _Missing(Exception):
    """NOT_FOUND, in GraphQL's way."""


def _error(error: GraphQLError) -> Doc:
    shown: Doc = {"message": error.message}
    if isinstance(error.original_error, _Missing):
        shown["type"] = "NOT_FOUND"
    elif isinstance(error.original_error, Refusal):
        shown |= {"type": "FORBIDDEN", "message": error.original_error.answer.body["message"]}
    if error.path:
        shown["path"] = error.path
    if error.locations:
        shown["locations"] = [{"line": place.line, "column": place.column} for place in error.locations]
    return shown


def _connection(items: list[Doc]) -> Callable[..., Doc]:
    """A page of a list, by cursors."""

    def page(_: Any, first: int = 100, after: str | None = None) -> Doc:
        start = int(base64.b64decode(after).decode()) if after else 0
        chosen = items[start : start + first]
        end = start + len(chosen)
        cursor = base64.b64encode(str(end).encode()).decode() if chosen else None
        info = {"hasNextPage": end < len(items), "hasPreviousPage": start > 0, "startCursor": None, "endCursor": cursor}
        return {"nodes": chosen, "pageInfo": info, "totalCount": len(items)}

    return page
