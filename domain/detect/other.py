"""Any other language, by its own files; and the services that tests need, by those that name them for other tools."""

import re
import shlex
from collections.abc import Iterator
from posixpath import normpath
from typing import Any, Literal

from domain.detect.reading import Detected, Found, Missing, View, without_lock
from domain.egress import EgressRule
from domain.project import ProjectEgress, ProjectSettings
from domain.services import KNOWN, Service


def detect(view: View) -> Detected | None:
    """Settings of a project in Go, Rust, Ruby or Java, or one whose Makefile has `test`; None if none is known."""
    return next((found for language in (_go, _rust, _ruby, _java, _make) if (found := language(view))), None)


def _settings(test: str, **more: object) -> ProjectSettings:
    return ProjectSettings.model_validate({"test": test, **more})


def _reaches(*hosts: str) -> ProjectEgress:
    return ProjectEgress(setup=(EgressRule(hosts=hosts),))


def _go(view: View) -> Detected | None:
    if "go.work" in view:
        text = re.sub(r"//.*", "", view.text("go.work"))
        used = [normpath(path.strip('"')) for many, one in _USED.findall(text) for path in (many or one).split()]
        test = shlex.join(["go", "test", *("./..." if path == "." else f"./{path}/..." for path in used)])
    elif "go.mod" in view:
        test = "go test ./..."
    else:
        return None
    found = [Found(what="tests", value=test, path=view.full(view.first("go.work", "go.mod") or ""))]
    sums = next(view.find("go.sum", "go.work.sum", *(["**/go.sum"] if "go.work" in view else [])), None)
    if sums is None or "vendor/modules.txt" in view:
        return Detected(settings=_settings(test), kind="go test", found=tuple(found))
    found.append(Found(what="packages", value="go mod download", path=view.full(sums)))
    settings = _settings(test, setup="go mod download", egress=_reaches("proxy.golang.org", "sum.golang.org"))
    return Detected(settings=settings, kind="go test", found=tuple(found))


_USED = re.compile(r"^use\s+(?:\(([^)]*)\)|(\S+))", re.MULTILINE)
"""https://go.dev/ref/mod#go-work-file-use"""
_CRATES = ("index.crates.io", "static.crates.io")


def _rust(view: View) -> Detected | None:
    if "Cargo.toml" not in view:
        return None
    found = [Found(what="tests", value="cargo test", path=view.full("Cargo.toml"))]
    locked = " --locked" if "Cargo.lock" in view else ""
    test = f"cargo test{locked} --offline"
    if not (needing := _needs_crates(view)):
        return Detected(settings=_settings(test), kind="cargo test", found=tuple(found))
    fetch = f"cargo fetch{locked}"
    found.append(Found(what="packages", value=fetch, path=view.full(needing)))
    roots = [f"**/src/{name}.rs" for name in ("lib", "main", "bin/*")]  # cargo reads no manifest without its targets
    settings = _settings(
        test,
        setup=fetch,
        setup_files=("**/Cargo.toml", "**/Cargo.lock", "**/.cargo/config.toml", "**/build.rs", *roots),
        egress=_reaches(*_CRATES),
    )
    missing = () if locked else (without_lock("cargo generate-lockfile"),)
    return Detected(settings=settings, kind="cargo test", found=tuple(found), missing=missing)


def _needs_crates(view: View) -> str | None:
    """The file that asks for crates of others; None if none does, or where the tree says that it has them."""
    if any("source" in view.toml(path) for path in (".cargo/config.toml", ".cargo/config")):
        return None
    if "Cargo.lock" in view:
        packages = view.toml("Cargo.lock").get("package")
        listed = packages if isinstance(packages, list) else []
        return "Cargo.lock" if any(isinstance(one, dict) and one.get("source") for one in listed) else None
    return next((path for path in view.find("Cargo.toml", "**/Cargo.toml") if _is_asking(view.toml(path))), None)


def _is_asking(manifest: dict[str, Any]) -> bool:
    """Whether a manifest has a dependency that is not in the tree: https://doc.rust-lang.org/cargo/reference/manifest.html"""
    targets = manifest.get("target")
    tables = [manifest, manifest.get("workspace"), *(targets.values() if isinstance(targets, dict) else ())]
    for table in tables:
        for kind in ("dependencies", "dev-dependencies", "build-dependencies"):
            needs = table.get(kind) if isinstance(table, dict) else None
            for need in needs.values() if isinstance(needs, dict) else ():
                if not isinstance(need, dict) or not (need.get("path") or need.get("workspace")):
                    return True
    return False


def _ruby(view: View) -> Detected | None:
    if "Gemfile" not in view or not (tests := next(view.find("spec/**/*_spec.rb", "test/**/*_test.rb"), None)):
        return None
    is_rspec = tests.endswith("_spec.rb")
    test = "bundle exec rspec" if is_rspec else "bundle exec rake test"
    report = "rspec_junit_formatter" in view.text("Gemfile.lock")
    if is_rspec and report:
        test += " --format progress --format RspecJunitFormatter --out rspec.xml"
    settings = _settings(
        test,
        setup="bundle config set --local path vendor/bundle && bundle install",
        setup_files=("**/Gemfile", "**/Gemfile.lock", "**/*.gemspec", "**/.ruby-version"),
        egress=_reaches("rubygems.org", "index.rubygems.org"),
        **({"report": f"junit:{view.prefix}rspec.xml"} if is_rspec and report else {}),
    )
    missing = () if report else (
        Missing(what="tests one by one", how='add the gem rspec_junit_formatter; write `report = "junit:rspec.xml"`'),
    )  # fmt: skip
    found = (
        Found(what="tests", value=test, path=view.full(tests)),
        Found(what="packages", value="bundle install", path=view.full(view.first("Gemfile.lock") or "Gemfile")),
    )
    return Detected(settings=settings, kind="rspec" if is_rspec else "rake test", found=found, missing=missing)


def _java(view: View) -> Detected | None:
    build = view.first("pom.xml", "build.gradle", "build.gradle.kts")
    if not build:
        return None
    test = "mvn -B -o test" if build == "pom.xml" else "gradle --offline test"
    missing = (
        Missing(
            what="an image with its packages",
            how='name one that has the JDK, the build tool and what it downloads: `image = "…"`; tests reach no '
            'network. What it reports is told by `report = "junit:PATH"`, one file',
        ),
    )
    return Detected(
        settings=_settings(test), kind=test.split()[0], missing=missing,
        found=(Found(what="tests", value=test, path=view.full(build)),),
    )  # fmt: skip


def _make(view: View) -> Detected | None:
    for name in ("GNUmakefile", "makefile", "Makefile"):
        for target in ("test", "check"):
            if re.search(rf"^{target}\s*:(?!=)", view.text(name), re.MULTILINE):
                found = (Found(what="tests", value=f"make {target}", path=view.full(name)),)
                return Detected(settings=_settings(f"make {target}"), kind=f"make {target}", found=found)
    return None


# --- services

_NAMED_IN = (
    "docker-compose*.yml", "docker-compose*.yaml", "compose*.yml", "compose*.yaml", ".github/workflows/*",
    ".gitlab-ci.yml", ".circleci/config.yml", ".env.*", "**/.env.example", "**/.env.test", "**/.env.sample", "tox.ini",
    "**/conftest.py",
)  # fmt: skip
_IMAGE = {
    "postgresql": re.compile(
        r"image:\s*[\"']?\S{0,200}?(postgres|postgis|timescaledb|pgvector)|^[^\S\n]*-\s*postgres:", re.MULTILINE
    ),
    "redis": re.compile(r"image:\s*[\"']?\S{0,200}?(redis|valkey)|^[^\S\n]*-\s*redis:", re.MULTILINE),
}
_ADDRESS = {
    "postgresql": re.compile(
        r"\b([A-Z][A-Z0-9_]{2,60})\b[\"'\])]*\s*[:=,]\s*[\"']?(postgres(?:ql)?(?:\+\w+)?|postgis)://"
    ),
    "redis": re.compile(r"\b([A-Z][A-Z0-9_]{2,60})\b[\"'\])]*\s*[:=,]\s*[\"']?(redis)://"),
}
_USES: tuple[Literal["postgresql", "redis"], ...] = ("postgresql", "redis")


def with_services(view: View, detected: Detected) -> Detected:
    """The same in its directory, with the services that compose files and CI start for tests, and their variables."""
    services, found, missing = dict(detected.settings.services), list(detected.found), list(detected.missing)
    texts = {path: view.text(path) for path in view.find(*_NAMED_IN)}
    for use in _USES:
        if not (path := next((path for path, text in texts.items() if _IMAGE[use].search(text)), None)):
            continue
        told = next(_addresses(use, texts), None)
        if told is None:
            how = f'write `[services.{use}]` with `use = "{use}"` and `variable = "…"`, if the tests need it'
            missing.append(Missing(what=f"the variable of {KNOWN[use].title} ({view.full(path)})", how=how))
            continue
        variable, scheme = told
        usual, _, rest = KNOWN[use].url.partition(":")
        url = None if scheme == usual else f"{scheme}:{rest}"
        services[use] = Service(use=use, variable=variable, url=url)
        found.append(Found(what="service", value=f"{KNOWN[use].title} in {variable}", path=view.full(path)))
    settings = detected.settings.model_copy(update={"services": services, "directory": view.directory})
    return detected.model_copy(update={"settings": settings, "found": tuple(found), "missing": tuple(missing)})


def _addresses(use: str, texts: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Variables that are told such an address, and its scheme."""
    for text in texts.values():
        for match in _ADDRESS[use].finditer(text):
            yield match[1], match[2]
