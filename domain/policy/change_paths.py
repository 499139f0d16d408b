"""Change rules over paths: what may be touched, how much of it, and what a person has to look at."""

import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any

from domain.brief import Kind
from domain.detect.metadata import named_files
from domain.detect.pip_files import is_requirements_file
from domain.detect.reading import View
from domain.paths import matches
from domain.policy.change import Change, base_names, sections_of, table_of, text_of
from domain.policy.rule import Hit, Rule
from domain.task import Severity
from domain.trees import LINK, PROGRAM, check_tree, is_pointer

AGENT_INSTRUCTIONS = (
    "**/AGENTS.md", "**/CLAUDE.md", "**/GEMINI.md", "**/.claude/**", "**/.mcp.json", "**/.cursor/**", "**/.cursorrules",
    "**/.windsurfrules", "**/.clinerules", "**/.aider*", "**/.codex/**", "**/.opencode/**", "**/opencode.json",
    ".github/copilot-instructions.md",
)  # fmt: skip

DEPENDENCY_FILES = (
    "**/requirements*.txt", "**/requirements/**", "**/constraints*.txt", "**/*.lock", "**/setup.py", "**/Pipfile",
    "**/package.json", "**/package-lock.json", "**/npm-shrinkwrap.json", "**/pnpm-lock.yaml", "**/.npmrc",
    "**/pip.conf", "**/uv.toml", "**/go.mod", "**/go.sum", "**/Cargo.toml", "**/Gemfile", "**/environment.yml",
    "**/vendor/**", "**/node_modules/**", "**/.yarn/cache/**", "**/.yarn/patches/**", "**/deno.json*",
    "**/hatch_build.py", "**/pdm_build.py", "**/build.rs", "**/binding.gyp", "**/meson.build", "**/CMakeLists.txt",
    "**/pom.xml", "**/build.gradle*", "**/settings.gradle*", "**/gradle/wrapper/**", "**/_vendor/**", "**/_vendored/**",
    "**/vendored/**", "**/third_party/**", "**/thirdparty/**", "**/3rdparty/**", "**/extern/**", "**/externals/**",
    "**/_extern/**", "**/bundled/**", "**/environment.yaml", "**/conda*.y*ml", "**/pixi.toml", "**/*.nix",
    "**/.python-version", "**/.nvmrc", "**/.node-version", "**/.tool-versions", "**/.ruby-version", "**/Aptfile",
    "**/apt.txt", "**/Brewfile", "**/conanfile.*", "**/vcpkg.json", "**/WORKSPACE", "**/MODULE.bazel",
    "**/snapcraft.y*ml", "**/Chart.y*ml", "**/bower.json", "**/importmap.json",
)  # fmt: skip
DEPENDENCY_TABLES = (
    ("project", "dependencies"), ("project", "optional-dependencies"), ("dependency-groups",), ("build-system",),
    ("project", "dynamic"), ("project", "requires-python"), ("tool", "uv"), ("tool", "poetry"), ("tool", "pdm"),
    ("tool", "setuptools"), ("tool", "hatch"), ("tool", "flit"), ("tool", "scikit-build"), ("tool", "maturin"),
    ("project", "entry-points"), ("project", "scripts"), ("project", "gui-scripts"), ("project", "name"),
)  # fmt: skip
INSTALLED_IS = "what is installed is"
DEPENDENCY_SECTIONS = ("options", "options.extras_require", "options.entry_points", "extras", "DEFAULT")
"""What stands under DEFAULT is in every section: https://docs.python.org/3/library/configparser.html"""

RUN_FILES = (
    "**/jest.config.*", "**/.jestrc*", "**/vitest.config.*", "**/vitest.workspace.*", "**/.mocharc*",
    "**/ava.config.*", "**/.taprc", "**/.tap/**", "**/.nycrc*", "**/nyc.config.*", "**/.c8rc*", "**/node.config.json",
    "**/babel.config.*", "**/.babelrc*", "**/.swcrc", "**/bunfig.toml", "**/.npmrc", "**/.yarnrc", "**/.yarnrc.yml",
    "**/.yarn/releases/**", "**/.yarn/plugins/**", "**/.pnp.*", "**/.pnpmfile.*", "**/pnpm-workspace.yaml",
    "**/go.work", "**/go.work.sum", "**/.cargo/config", "**/.cargo/config.toml", "**/rust-toolchain",
    "**/rust-toolchain.toml", "**/.config/nextest.toml", "**/.rspec*", "**/.bundle/config", "**/.mvn/**",
    "**/GNUmakefile", "**/makefile", "**/.justfile",
)  # fmt: skip
"""What package managers, compilers and test runners read by itself as they start, some of it before the files of other
names that base has. A new one is left out of the run that judges the change. From their own documentation, such as
https://doc.rust-lang.org/cargo/reference/config.html, https://go.dev/ref/mod#workspaces, https://babeljs.io/docs/config-files,
https://yarnpkg.com/configuration/yarnrc, https://pnpm.io/settings, https://bun.com/docs/runtime/bunfig"""

DOCUMENTATION = (
    "**/*.md", "**/*.rst", "**/*.adoc", "docs/**/*.txt",
    *(
        f"{name}{end}"
        for name in ("README", "CHANGELOG", "CHANGES", "HISTORY", "AUTHORS", "NEWS")
        for end in ("", "*.txt")
    ),
)  # fmt: skip
"""NEWS.py and README.sh are programs."""

CI_FILES = (
    "**/.travis.yml", "**/azure-pipelines*.y*ml", "**/.azure-pipelines/**", "**/.azuredevops/**", "**/appveyor.yml",
    "**/.appveyor.yml", "**/bitbucket-pipelines.yml", "**/.drone.y*ml", "**/.woodpecker*", "**/.woodpecker/**",
    "**/.buildkite/**", "**/buildspec*.y*ml", "**/cloudbuild*.y*ml", "**/.semaphore/**", "**/.builds/**",
    "**/.build.yml", "**/.cirrus.*", "**/.teamcity/**", "**/.forgejo/**", "**/.gitea/**", "**/.gitlab/**",
    "**/.gitlab-ci*.yml", "**/.circleci/**", "**/codefresh.y*ml", "**/.tekton/**", "**/Jenkinsfile*", "**/.zuul.*",
    "**/zuul.d/**", "**/wercker.yml", "**/.ci/**", "**/codecov.yml", "**/.codecov.yml", "**/.coveralls.yml",
    "**/sonar-project.properties", "**/.readthedocs.y*ml", "**/renovate.json*", "**/.renovaterc*",
)  # fmt: skip
"""What servers of other people than GitHub build, test and release by."""
DOCS_FILES = ("**/.readthedocs.y*ml",)
"""What the documentation is built by: that it names Sphinx's conf.py asks nobody, what a workflow names does."""
BUILD_FILES = (
    "**/.npmignore", "**/.dockerignore", "**/*.spec",
    "**/Makefile", "**/Makefile.*", "**/*.mk", "**/justfile", "**/Justfile", "**/Taskfile.y*ml", "**/Rakefile",
    "**/dodo.py", "**/MANIFEST.in", "**/.releaserc*", "**/.goreleaser*", "**/.bumpversion*",
)  # fmt: skip
"""What builds, packs and releases by the developers' own hands."""
_PLAIN_TOOLS = frozenset(
    ("black", "isort", "towncrier", "codespell", "typos", "yapf", "djlint", "pydocstyle", "docformatter", "interrogate",
     "vulture", "deptry", "check-manifest", "repo-review", "pylsp", "autopep8", "pyright", "basedpyright", "pytype",
     "mkinit", "licensecheck", "scriv", "sphinx-pyproject", "pytest", "pytest_env", "setuptools_scm", "git-cliff")
)  # fmt: skip
"""Tables of pyproject.toml that format, spell, or that other rules know: nothing is built or run by them."""
TOOL_FILES = (
    "**/.vscode/**", "**/.idea/**", "**/.zed/**", "**/.fleet/**", "**/.devcontainer/**", "**/.devcontainer.json",
    "**/.gitpod.y*ml", "**/.envrc", "**/.husky/**", "**/.githooks/**", "**/lefthook.y*ml", "**/.lintstagedrc*",
    "**/mise.toml", "**/.mise.toml", "**/.gitattributes", "**/compose*.y*ml", "**/Containerfile*", "**/Procfile",
    "**/fly.toml", "**/render.yaml", "**/vercel.json", "**/netlify.toml", "**/serverless.y*ml", "**/*.tf",
)  # fmt: skip
"""What editors, shells, git and hosting services read by themselves: a task that starts when a folder is opened
(https://code.visualstudio.com/docs/debugtest/tasks), variables of a directory (https://direnv.net), git's hooks, and
how git shows a diff."""
PROGRAMS = (".sh", ".bash", ".py", ".js", ".mjs", ".cjs", ".ts", ".rb", ".pl", ".ps1", ".bat")

CHECK_FILES = (
    *RUN_FILES,
    "**/ruff.toml", "**/.ruff.toml", "**/.flake8", "**/mypy.ini", "**/.mypy.ini", "**/.pylintrc", "**/pylintrc",
    "**/.bandit", "**/.coveragerc", "**/.pre-commit-config.yaml", "**/pyrightconfig.json", "**/.eslintrc*",
    "**/eslint.config.*", "**/tsconfig*.json", "**/.importlinter", "**/.semgrepignore", "**/.gitleaks*",
    "**/jsconfig.json", "**/vite.config.*", "**/playwright.config.*", "**/cypress.config.*", "**/karma.conf.*",
    "**/__mocks__/**", "**/nx.json", "**/turbo.json", "**/lerna.json", "**/biome.json*", "**/.oxlintrc.json",
    "**/.env", "**/.env.local", "**/.env.test*", "**/clippy.toml", "**/.clippy.toml", "**/rustfmt.toml",
    "**/.rustfmt.toml", "**/.golangci.*", "**/.rubocop.yml", "**/tox.toml", "**/noxfile.py",
)  # fmt: skip
CHECK_TABLES = tuple(
    ("tool", name)
    for name in ("ruff", "mypy", "pyright", "flake8", "pylint", "coverage", "bandit", "importlinter", "tox", "poe")
)
CHECK_SECTIONS = (
    "DEFAULT", "flake8*", "mypy", "mypy-*", "coverage:*", "pycodestyle", "pylint*", "bandit", "importlinter*",
    "tox", "tox:tox", "testenv*",
)  # fmt: skip
"""As globs; `[mypy-shop.*]` is what mypy does with these modules: https://mypy.readthedocs.io/en/stable/config_file.html"""

INSTALLED = ("node_modules", ".venv", "site-packages", ".lockgate")
"""Directories of what an installation leaves; .lockgate is where what `setup` fetched is kept."""
FIXTURES = ("fixtures", "__fixtures__", "testdata")
"""Directories of what bundlers, resolvers and linters are tried on: made-up packages, too."""
_CODE = re.compile(r".*\.(?:[cm]?[jt]sx?|py|go)")

ABOUT_ENDINGS = re.compile(r"\bline[ -]?end|\bnewlines?\b|\bcrlf\b|\beol\b|gitattributes", re.IGNORECASE)
MAX_FILE_BYTES = 500_000
MAX_LINE_CHARS = 2_000
"""More than a reviewer can read: generated, minified or hidden code."""


def _no_change(change: Change) -> Iterator[Hit]:
    if not change.changed:
        yield Hit("nothing is different from base")


def _tree(change: Change) -> Iterator[Hit]:
    if reason := check_tree(change.head, known=change.base.keys()):
        yield Hit(reason)


def _out_of_scope(change: Change) -> Iterator[Hit]:
    scope = change.prepared.brief.scope.paths
    for path in change.changed:
        if scope and not matches(path, scope) and not change.may_change(path):
            yield Hit(f"outside of the scope {', '.join(scope)}", path)


def _out_of_bounds(change: Change) -> Iterator[Hit]:
    attempt = change.attempt
    for path in change.changed:
        if attempt.bounds and not matches(path, attempt.bounds):
            yield Hit(f"the scope of the agent {attempt.agent} allows {', '.join(attempt.bounds)} alone", path)


def _other_kind(change: Change) -> Iterator[Hit]:
    kind = change.prepared.brief.kind
    for path in change.changed:
        if kind is Kind.TESTS and not change.is_test(path):
            yield Hit("the brief asks for tests, and this is none", path)
        elif kind is Kind.DOCS and not matches(path, DOCUMENTATION):
            yield Hit("the brief asks for documentation, and this is none", path)


def _installed(change: Change) -> Iterator[Hit]:
    told: set[str] = set()
    for path in change.changed:
        place = _installation(path, change)
        if place and place not in told and path in change.head:
            told.add(place)
            if not any(one.startswith(place) for one in change.base):
                yield Hit(f"{place} holds what an installation leaves, and base has none of it", path)


def _installation(path: str, change: Change) -> str:
    """The directory of installed packages that a path is in, with a slash at its end; empty: in none."""
    parts = path.split("/")[:-1]
    for depth, part in enumerate(parts, 1):
        place = "/".join(parts[:depth]) + "/"
        if part in INSTALLED or (part == "vendor" and f"{place}modules.txt" in change.head):
            return "" if _is_tried_on("/".join(parts[: depth - 1]) + "/", change) else place
    return ""


def _is_tried_on(around: str, change: Change) -> bool:
    """Whether a directory is of fixtures, with no code of base in it, which would find what is installed there."""
    is_fixture = any(part in FIXTURES for part in around.split("/"))
    return is_fixture and not any(one.startswith(around) and _CODE.fullmatch(one) for one in change.base)


def _sensitive(change: Change) -> Iterator[Hit]:
    for path in change.changed:
        if matches(path, (*change.settings.sensitive_paths, "lockgate.toml")):
            yield Hit("a sensitive path is changed", path)


def _agent_instructions(change: Change) -> Iterator[Hit]:
    for path in change.changed:
        if matches(path, AGENT_INSTRUCTIONS):
            yield Hit("what later agents are told is changed", path)


def _binary(change: Change) -> Iterator[Hit]:
    for path in change.present:
        if text_of(change.head, path) is None:
            yield Hit("not readable as UTF-8 text", path)
        elif is_pointer(change.head[path]):
            yield Hit("a Git LFS pointer to a file that is stored elsewhere", path)


def _lfs(change: Change) -> Iterator[Hit]:
    for path in change.present:
        if is_pointer(change.base.get(path)) and not is_pointer(change.head[path]):
            yield Hit("base keeps this file in Git LFS; the change puts other content in place of the pointer", path)
        elif is_pointer(change.head[path]) and change.prepared.brief.environment:
            yield Hit("a release would have the pointer of Git LFS, not the content", path)


def _line_endings(change: Change) -> Iterator[Hit]:
    if ABOUT_ENDINGS.search(f"{change.prepared.brief.title}\n{change.prepared.brief.goal}"):
        return
    for path in change.present:
        base, head = text_of(change.base, path), text_of(change.head, path)
        if not base or not head:
            continue
        (before, plain_before), (after, plain_after) = _endings(base), _endings(head)
        if before and after and before != after:
            real = sum((Counter(plain_after) - Counter(plain_before)).values())
            yield Hit(f"the whole file's line endings changed from {before} to {after}; {real} lines differ", path)


def _endings(text: str) -> tuple[str, list[str]]:
    """How (nearly) all lines of two or more end, empty if they end in both ways; and the lines without it."""
    lines = text.split("\n")[:-1]
    windows = sum(line.endswith("\r") for line in lines)
    share = windows / len(lines) if len(lines) > 1 else 0.5
    return "CRLF" if share > 0.9 else "LF" if share < 0.1 else "", [line.rstrip("\r") for line in lines]


def _symlink(change: Change) -> Iterator[Hit]:
    for path in change.changed:
        if path in change.head and change.head[path].mode == LINK:
            yield Hit(f"a symbolic link to {change.head[path].content.decode('utf-8', 'replace')!r}", path)


def _unreadable(change: Change) -> Iterator[Hit]:
    for path in change.present:
        if text_of(change.head, path) is None:
            continue
        size = len(change.head[path].content)
        before = len(change.base[path].content) if path in change.base else 0
        if size - before > MAX_FILE_BYTES:
            yield Hit(f"{size:,} bytes are more than a person reads", path)
        elif long := next((n for n, line in change.added(path) if len(line) > MAX_LINE_CHARS), None):
            yield Hit(f"a line of more than {MAX_LINE_CHARS:,} characters", path, long)


def _program(change: Change) -> Iterator[Hit]:
    for path in change.present:
        if change.head[path].mode == PROGRAM and (path not in change.base or change.base[path].mode != PROGRAM):
            yield Hit("the file is executable now", path)


def _budget(change: Change) -> Iterator[Hit]:
    lines, most = change.attempt.changed_lines, change.prepared.brief.scope.max_changed_lines
    if lines > most:
        yield Hit(f"{lines} changed lines are more than the {most} that the brief allows")


def _settings_changed(
    files: Sequence[str], tables: Sequence[Sequence[str]], sections: Sequence[str], what: str
) -> Callable[[Change], Iterator[Hit]]:
    def check(change: Change) -> Iterator[Hit]:
        for path in change.changed:
            if matches(path, files):
                yield Hit(f"{what} changed", path)
            elif matches(path, ("**/pyproject.toml",)):
                for table in different_tables(change, path, tables):
                    yield Hit(f"[{table}] is changed", path)
            elif matches(path, ("**/setup.cfg", "**/tox.ini")):
                for section in different_sections(change, path, sections):
                    yield Hit(f"[{section}] is changed", path)

    return check


def _builds(change: Change) -> Iterator[Hit]:
    what = "how it is built, tested or released is"
    yield from _settings_changed((*CI_FILES, *BUILD_FILES, *TOOL_FILES), (), (), what)(change)
    yield from _other_tools(change)
    yield from _others_programs(change)
    running = [path for path in change.base if matches(path, (".github/**", *CI_FILES, *BUILD_FILES, *_IMAGES))]
    texts = {path: change.base[path].content for path in running if not path.endswith("MANIFEST.in")}
    for path in change.changed:
        if path not in change.base or change.is_test(path) or not _is_program(path, change.base[path].content):
            continue
        spelled = re.compile(rb"(?<![\w./-])(?:\./)?" + re.escape(path.encode()) + rb"(?![\w.-])")
        docs = DOCS_FILES if PurePosixPath(path).name == "conf.py" and path.startswith(("docs/", "doc/")) else ()
        naming = (one for one, text in texts.items() if not matches(one, docs) and spelled.search(text))
        if by := next(naming, None):
            yield Hit(f"{by} runs this program, or names it", path)


def _other_tools(change: Change) -> Iterator[Hit]:
    """Tables of tools in pyproject.toml that no rule knows: many have commands that run before a build or a release."""
    known = {table[1] for table in (*DEPENDENCY_TABLES, *CHECK_TABLES) if table[0] == "tool" and len(table) > 1}
    for path in change.changed:
        if PurePosixPath(path).name == "pyproject.toml":
            base, head = ((table_of(tree, path) or {}).get("tool", {}) for tree in (change.base, change.head))
            for name in sorted((base.keys() | head.keys()) - known - _PLAIN_TOOLS):
                if base.get(name) != head.get(name):
                    yield Hit(f"[tool.{name}] is changed", path)


_DEPLOYS = re.compile(r"(?:.*/)?[^/]*\.(?:ya?ml|json|hcl|nomad|tpl)")
_IMAGE = re.compile(
    r"^[\s\"'-]*(?:image|repository|registry|chart|uses|container)[\"']?\s*[:=]\s*[\"']?"
    r"(?!(?:string|object|array|boolean|number|integer)[\"',\s]*$)[\w./@${}:-]{3,}"
)
_IMAGE_IN_JSON = re.compile(
    _IMAGE.pattern.rpartition("(?!")[0]
    + r"(?![./]|https?:[^\s\"']*\.(?:png|jpe?g|gif|svg|webp|ico)[\"'?#])(?=[^\s\"']*(?:[/@]|:\w))[\w./@${}:-]{3,}"
)
"""Much data of JSON has an image or a container that is none of a deployment: a word, or a path of a picture."""
_TOLD_TO_RUN = re.compile(
    r"(?:curl|wget|iwr|irm)\b[^|\n]{0,300}\|\s*(?:sudo\s+)?(?:[bz]a?|da)?sh\b|\b(?:iex|Invoke-Expression)\b"
    r"|(?:curl|wget)\b[^\n]{0,300}(?:&&|;)\s*(?:sudo\s+)?[bz]?a?sh\b"
    r"|\b(?:pip3?|pipx|uv|uvx|npm|npx|pnpm|yarn|brew|cargo|gem|conda|go)\s+(?:tool\s+|pip\s+|global\s+)?(?:install|add|i|get|run|dlx|exec)\s+"
    r"(?:-[\w-]+(?:[= ](?!-)[\w.:/+-]+)?\s+)*(?P<name>(?:git\+)?[@A-Za-z][\w./@:+-]*)"
)


_OTHER_INDEX = re.compile(r"--(?:extra-index-url|index-url|registry|trusted-host)[= ][\w.:/-]+")


def _others_programs(change: Change) -> Iterator[Hit]:
    """Images that a deployment names, and what people are told to install or run, that nothing of base names."""
    is_named = base_names(change)
    for path in change.present:
        if change.is_test(path):
            continue
        image = _IMAGE_IN_JSON if path.endswith(".json") else _IMAGE
        pattern = image if _DEPLOYS.fullmatch(path) else _TOLD_TO_RUN if matches(path, DOCUMENTATION) else None
        for number, line in change.added(path) if pattern else ():
            found = pattern.search(line[:2_000]) if pattern else None
            named = (found.groupdict().get("name") or found[0].strip()) if found else ""
            other = _OTHER_INDEX.search(line[:2_000]) if pattern is _TOLD_TO_RUN else None
            if (found and not is_named(named)) or (other and not is_named(other[0])):
                yield Hit(f"it names a program or an image that base does not: {line.strip()[:100]!r}", path, number)


def _is_program(path: str, content: bytes) -> bool:
    return PurePosixPath(path).suffix in PROGRAMS or (not PurePosixPath(path).suffix and content.startswith(b"#!"))


_IMAGES = ("**/Dockerfile*", "**/Containerfile*")
_INLINE_BEGIN, _INLINE_END = re.compile(r"# /// script\s*"), re.compile(r"# ///\s*")
"""https://packaging.python.org/en/latest/specifications/inline-script-metadata/"""


def _inline(change: Change) -> Iterator[Hit]:
    """Dependencies that a script brings in a comment."""
    for path in change.present:
        found = _inline_of(text_of(change.head, path) or "") if path.endswith(".py") else None
        if found and found not in (text_of(change.base, path) or ""):
            yield Hit("the script says in a comment what is installed for it", path)


def _inline_of(text: str) -> str | None:
    """The first block of a script that says what is installed for it; None: there is none that ends."""
    lines = text.split("\n")
    begin = next((at for at, line in enumerate(lines) if _INLINE_BEGIN.fullmatch(line)), len(lines))
    end = next((at for at in range(begin + 1, len(lines)) if _INLINE_END.fullmatch(lines[at])), None)
    return None if end is None else "\n".join(lines[begin : end + 1])


def _dependencies(change: Change) -> Iterator[Hit]:
    yield from _inline(change)
    yield from _settings_changed(DEPENDENCY_FILES, DEPENDENCY_TABLES, DEPENDENCY_SECTIONS, INSTALLED_IS)(change)
    yield from _copied(change)
    named = _named_as_dependencies(change)
    for path in change.changed:
        if (path in named or is_requirements_file(path)) and not matches(path, DEPENDENCY_FILES):
            yield Hit(f"{INSTALLED_IS} changed", path)


_LICENCE = re.compile(r"(?:LICEN[CS]E|COPYING|NOTICE|METADATA|PKG-INFO)(?:[.-][\w.-]+)?", re.IGNORECASE)
_MANIFEST = re.compile(
    r"pyproject\.toml|setup\.(?:py|cfg)|package\.json|go\.mod|Cargo\.toml|pom\.xml|build\.gradle(?:\.kts)?|composer\.json"
    r"|Package\.swift|[^/]+\.(?:gemspec|csproj)"
)


def _copied(change: Change) -> Iterator[Hit]:
    """Code in a directory that has a licence of its own, and is no package of the repository's: somebody else's."""
    files = [(PurePosixPath(path), not _CODE.fullmatch(path)) for path in change.base]
    places = {str(path.parent) for path, is_text in files if is_text and _LICENCE.fullmatch(path.name)}
    foreign = places - {".", *(str(path.parent) for path, _ in files if _MANIFEST.fullmatch(path.name))}
    for path in change.changed:
        above = next((str(one) for one in PurePosixPath(path).parents if str(one) in foreign), None)
        if above and path in change.base and _CODE.fullmatch(path) and not matches(path, DEPENDENCY_FILES):
            yield Hit(f"{above} has a licence of its own: a copy of other people's code is another one", path)


def _named_as_dependencies(change: Change) -> set[str]:
    """Files that the settings, or the metadata of a project above a changed path, name as a list of dependencies."""
    settings = change.settings
    of_settings = [*settings.requirement_files, *([settings.lock] if settings.lock else [])]
    named = {posixpath.normpath(posixpath.join(settings.directory, path)) for path in of_settings}
    above = {str(folder) for path in change.changed for folder in PurePosixPath(path).parents}
    for tree in (change.base, change.head):
        for folder in above:
            at = "" if folder == "." else folder
            if any(posixpath.join(at, name) in tree for name in ("pyproject.toml", "setup.cfg")):
                named |= {*named_files(View(tree, at))}
    return named


def different_tables(change: Change, path: str, tables: Sequence[Sequence[str]]) -> Iterator[str]:
    """Names of the tables of a TOML file that differ; all of them where one side cannot be read."""
    base, head = table_of(change.base, path), table_of(change.head, path)
    for table in tables:
        if base is None or head is None or _inner(base, table) != _inner(head, table):
            yield ".".join(table)


def different_sections(change: Change, path: str, sections: Sequence[str]) -> Iterator[str]:
    """Names of the sections of an ini file that differ, of those that a glob in `sections` matches."""
    base, head = sections_of(change.base, path), sections_of(change.head, path)
    for name in sorted(base | head):
        if base.get(name) != head.get(name) and any(fnmatchcase(name, glob) for glob in sections):
            yield name


def _inner(data: Mapping[str, Any], keys: Sequence[str]) -> Any:
    value: Any = data
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


REFUSE, PERSON, NOTE = Severity.REFUSE, Severity.PERSON, Severity.NOTE

SCOPE_RULES: tuple[Rule[Change], ...] = (
    Rule(
        "no-change", "change", REFUSE,
        "A commit whose tree equals base.",
        "There is nothing to judge.",
        "make the change that the brief asks for",
        _no_change,
    ),
    Rule(
        "out-of-scope", "change", REFUSE,
        "A changed path that no glob of scope.paths (or may_change_tests) matches.",
        "The person who briefed said where the change may be.",
        "put this path back as it is on base",
        _out_of_scope,
    ),
    Rule(
        "out-of-bounds", "change", REFUSE,
        "A changed path that no glob of the scope of its agent's block matches, whatever the brief allows.",
        "The team said what this agent is for.",
        "put this path back as it is on base; or the brief names another agent",
        _out_of_bounds,
    ),
    Rule(
        "other-kind", "change", REFUSE,
        "A brief of the kind `docs` or `tests`, and a changed file that is no documentation, or no test.",
        "Agents may be for such briefs alone, and people read them as what they say they are.",
        "put this file back as it is on base; or the brief is of another kind",
        _other_kind,
    ),
    Rule(
        "line-endings", "change", PERSON,
        "A file whose lines all end in another way than on base, unless the brief speaks of line endings.",
        "Every line looks changed, and what was really changed is not seen.",
        "keep the line endings that the file has on base",
        _line_endings,
    ),
    Rule(
        "lfs", "change", REFUSE,
        "A pointer of Git LFS that is replaced by content, or one that would be released.",
        "Nobody saw the content that was replaced, and a pointer is no picture.",
        "leave files of Git LFS to a person, who has their content",
        _lfs,
    ),
    Rule(
        "installed", "change", REFUSE,
        "New files below node_modules, .venv, site-packages, .lockgate, or a vendor directory of Go, where base has "
        "none of it; but for those in a directory of fixtures in which base has no code.",
        "Tests would run with them in place of the packages that the lock names, and nobody reads them.",
        "delete the directory; what is installed comes from the manifest and its lock",
        _installed,
    ),
    Rule(
        "tree", "change", REFUSE,
        "Names with invisible characters, names like `.git`, names that differ in case alone, links out of the tree.",
        "File systems, git and a reviewer's screen would read such a tree differently.",
        "use plain names and relative links that stay inside",
        _tree,
    ),
)  # fmt: skip


def _given_elsewhere(change: Change) -> Iterator[Hit]:
    for file in change.prepared.brief.acceptance.files:
        is_there = file.keep and file.path in change.head and file.path not in change.changed
        if not is_there or change.head[file.path] == change.base.get(file.path):
            continue
        if not change.is_test(file.path) or matches(file.path, change.settings.sensitive_paths):
            yield Hit("the brief brings this file as acceptance, and it is no plain test", file.path)


PERSON_RULES: tuple[Rule[Change], ...] = (
    Rule(
        "acceptance-elsewhere", "change", Severity.PERSON,
        "An acceptance file of the brief outside of test_paths, or under sensitive_paths, that is merged with the "
        "change.",
        "Who briefs may say what is tested; what else is merged is a reviewer's to say.",
        "look at this file as at any other, or give it `keep = false` in the brief",
        _given_elsewhere,
    ),
    Rule(
        "sensitive-path", "change", PERSON,
        "A changed path that the settings' sensitive_paths on base match; always lockgate.toml.",
        "Sign-in, migrations, CI and deployment break more than tests can show.",
        "a reviewer looks at this file",
        _sensitive,
    ),
    Rule(
        "dependencies", "change", PERSON,
        "Requirements, also in files of other names that pyproject.toml, setup.cfg or lockgate.toml names; lock files, "
        "package manifests, vendored packages, build scripts such as build.rs; what a script says in a comment (PEP "
        "723); copies of other people's code, by their place or a licence of their own; which Python or Node it is; "
        "and in pyproject.toml and setup.cfg what is depended on, built, its name, commands and entry points.",
        "A dependency is other people's code with this project's rights.",
        "a reviewer knows each new name and version",
        _dependencies,
    ),
    Rule(
        "check-config", "change", PERSON,
        "Configuration of linters, type checkers, coverage and scanners; of test runners, compilers and package "
        "managers (babel, swc, bun, yarn, pnpm, go.work, .cargo/config, rust-toolchain); mocks that are found by their "
        "place; and a GNUmakefile, makefile or .justfile, which are read before files of the usual names.",
        "A check that was loosened is green without the code being better.",
        "a reviewer agrees, or it is put back",
        _settings_changed(CHECK_FILES, CHECK_TABLES, CHECK_SECTIONS, "configuration of a check is"),
    ),
    Rule(
        "build-files", "change", PERSON,
        "What servers build, test and release by, whichever service it is (.travis.yml, azure-pipelines.yml, "
        "Jenkinsfile, .buildkite/ and their like), and what people do so by: Makefile, justfile, MANIFEST.in; programs "
        "that these run; and what editors, shells, git and hosting services read by themselves: .vscode/, "
        ".devcontainer/, .envrc, .husky/, .gitattributes, compose.yaml and their like; a table of a tool in "
        "pyproject.toml that no rule knows; an image of a deployment, and what documentation tells people to install "
        "or run, that nothing of base names.",
        "It runs outside of Lockgate, with rights of its own, and decides what others see as green and what they get.",
        "a reviewer agrees, or it is put back",
        _builds,
    ),
    Rule(
        "agent-instructions", "change", PERSON,
        "Instruction files of coding agents: AGENTS.md, CLAUDE.md, .claude/, .mcp.json, .cursor/ and their like.",
        "An agent that writes them steers the next one.",
        "a reviewer reads every line",
        _agent_instructions,
    ),
    Rule(
        "binary", "change", PERSON,
        "A new or changed file that is not UTF-8 text, or a Git LFS pointer to one.",
        "Neither rules nor people can read it in a diff.",
        "a reviewer knows where it comes from",
        _binary,
    ),
    Rule(
        "symlink", "change", PERSON,
        "A new or changed symbolic link, also one that stays inside the tree.",
        "A path then means another file than it says.",
        "a reviewer agrees, or it becomes a file",
        _symlink,
    ),
    Rule(
        "unreadable", "change", PERSON,
        f"A text file that grows by more than {MAX_FILE_BYTES:,} bytes, or a new line of more than "
        f"{MAX_LINE_CHARS:,} characters.",
        "It counts as few lines and hides much.",
        "a reviewer knows how it was made, or it is split into lines",
        _unreadable,
    ),
    Rule(
        "executable", "change", NOTE,
        "A file that becomes executable.",
        "It is worth a look, and most often meant.",
        "nothing to do if it is meant to be run",
        _program,
    ),
)  # fmt: skip

BUDGET_RULES: tuple[Rule[Change], ...] = (
    Rule(
        "diff-budget", "change", REFUSE,
        "More added plus removed lines than scope.max_changed_lines; unaltered acceptance files are not counted.",
        "A large change is not reviewed, it is waved through.",
        "do only what the brief asks, in fewer lines",
        _budget,
    ),
)  # fmt: skip
