"""Any other language, by its own files; and the services that tests need, by those that name them for other tools."""

import re
from collections.abc import Iterator
from typing import Literal

from domain.detect.reading import Detected, Found, Missing, View
from domain.egress import Rule
from domain.project import ProjectEgress, ProjectSettings
from domain.services import KNOWN, Service


def detect(view: View) -> Detected | None:
    """Settings of a project in Go, Rust, Ruby or Java, or one whose Makefile has `test`; None where none is known."""
    return next((found for language in (_go, _rust, _ruby, _java, _make) if (found := language(view))), None)


def _settings(test: str, **more: object) -> ProjectSettings:
    return ProjectSettings.model_validate({"test": test, **more})


def _reaches(*hosts: str) -> ProjectEgress:
    return ProjectEgress(setup=(Rule(hosts=hosts),))


def _go(view: View) -> Detected | None:
    module = view.first("go.mod", "go.work")
    if not module:
        return None
    found = [Found(what="tests", value="go test ./...", path=view.full(module))]
    if "go.sum" not in view or "vendor/modules.txt" in view:
        return Detected(settings=_settings("go test ./..."), kind="go test", found=tuple(found))
    found.append(Found(what="packages", value="go mod download", path=view.full("go.sum")))
    settings = _settings(
        "go test ./...", setup="go mod download", egress=_reaches("proxy.golang.org", "sum.golang.org")
    )
    return Detected(settings=settings, kind="go test", found=tuple(found))


_CRATES = ("index.crates.io", "static.crates.io")


def _rust(view: View) -> Detected | None:
    if "Cargo.toml" not in view:
        return None
    found = [Found(what="tests", value="cargo test", path=view.full("Cargo.toml"))]
    lock = view.toml("Cargo.lock")
    packages = lock.get("package") if isinstance(lock.get("package"), list) else []
    is_fetched = any(isinstance(one, dict) and one.get("source") for one in packages or [])
    if not is_fetched or ".cargo/config.toml" in view:  # nothing to fetch, or the tree says where packages are
        test = "cargo test --offline" if "Cargo.lock" not in view else "cargo test --locked --offline"
        return Detected(settings=_settings(test), kind="cargo test", found=tuple(found))
    found.append(Found(what="packages", value="cargo fetch --locked", path=view.full("Cargo.lock")))
    roots = [f"**/src/{name}.rs" for name in ("lib", "main", "bin/*")]  # cargo reads no manifest without its targets
    settings = _settings(
        "cargo test --locked --offline",
        setup="cargo fetch --locked",
        setup_files=("**/Cargo.toml", "**/Cargo.lock", "**/.cargo/config.toml", "**/build.rs", *roots),
        egress=_reaches(*_CRATES),
    )
    return Detected(settings=settings, kind="cargo test", found=tuple(found))


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
        r"image:\s*[\"']?\S*(postgres|postgis|timescaledb|pgvector)|^\s*-\s*postgres:", re.MULTILINE
    ),
    "redis": re.compile(r"image:\s*[\"']?\S*(redis|valkey)|^\s*-\s*redis:", re.MULTILINE),
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
