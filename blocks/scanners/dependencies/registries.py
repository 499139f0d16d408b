"""What PyPI (PEP 691, project JSON) and the npm registry say of a name, as one kind of page."""

import base64
import re
from collections.abc import Callable, Iterable, Sequence
from html.parser import HTMLParser
from typing import Annotated, Any
from urllib.parse import quote, unquote, urljoin, urlsplit

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version
from pydantic import AwareDatetime, BaseModel, BeforeValidator, Field, ValidationError

from blocks.scanners.dependencies import semver
from blocks.scanners.dependencies.reading import one_line
from blocks.scanners.dependencies.web import Cache, Unknown, Web
from domain.dependencies import Ecosystem, RegistryRelease
from domain.value import Value

SIMPLE = "application/vnd.pypi.simple.v1+json"
"""https://peps.python.org/pep-0691/; never the HTML form: it has no times of release."""
MAX_PAGE_BYTES = 60_000_000
"""The largest of the npm registry's documents are around 20 MB, the largest of PyPI's around 10 MB."""
INSTALL_SCRIPTS = ("preinstall", "install", "postinstall")
"""https://docs.npmjs.com/cli/using-npm/scripts#life-cycle-operation-order: what npm runs for a dependency."""
FORGES = re.compile(
    r"(?:^|[.@])(?:github\.(?:com|io)|gitlab\.com|codeberg\.org|bitbucket\.org|sr\.ht|sourceforge\.(?:net|io)|gitee\.com|"
    r"launchpad\.net|opendev\.org|dev\.azure\.com|googlesource\.com)$|^(?:git|gitlab|gitea|hg|svn|salsa)\."
)
"""Hosts where source is developed, and what such hosts are called."""


class RegistryPage(Value):
    """All that a registry says of one name. Keys of `releases` are versions in their normal form."""

    releases: dict[str, RegistryRelease]
    tags: dict[str, str] = Field({})

    def newest(self, ecosystem: Ecosystem, spec: str) -> str | None:
        """The version that an installer would take today; a yanked or a prerelease only if nothing else fits."""
        sound = [one for one, release in self.releases.items() if release.yanked is None]
        for versions in (sound, list(self.releases)):
            found = _newest_npm(self, versions, spec) if ecosystem is Ecosystem.NPM else _newest_pypi(versions, spec)
            if found:
                return found
        return None


def normal(ecosystem: Ecosystem, version: str) -> str:
    """The one spelling of a version that a page has; the text itself where it is no version."""
    if ecosystem is Ecosystem.NPM:
        return version.strip().lstrip("v=").partition("+")[0]
    try:
        return str(Version(version))
    except InvalidVersion:
        return version


def _newest_npm(page: RegistryPage, versions: Iterable[str], spec: str) -> str | None:
    known = list(versions)
    if not semver.is_range(spec):
        tagged = page.tags.get(spec)
        return tagged if tagged in known else None
    latest = page.tags.get("latest")
    if latest in known and semver.satisfies(latest or "", spec):
        return latest
    return semver.newest(known, spec)


def _newest_pypi(versions: Iterable[str], spec: str) -> str | None:
    try:
        wanted, known = SpecifierSet(spec), [Version(one) for one in versions]
    except (InvalidSpecifier, InvalidVersion):
        return None
    fitting = list(wanted.filter(known)) or list(wanted.filter(known, prereleases=True))
    return str(max(fitting)) if fitting else None


def _or_none(kind: Callable[[Any], Any]) -> BeforeValidator:
    """What is of another shape than it should be counts as not said."""

    def check(value: Any) -> Any:
        try:
            return kind(value)
        except (TypeError, ValueError, AttributeError):
            return None

    return BeforeValidator(check)


class _File(BaseModel):
    filename: str
    url: str = ""
    hashes: dict[str, str] = {}
    yanked: bool | str = False
    upload_time: AwareDatetime | None = None

    model_config = {"alias_generator": lambda name: name.replace("_", "-")}


class _Status(BaseModel):
    """https://peps.python.org/pep-0792/"""

    status: str = "active"


class _Simple(BaseModel):
    name: str
    files: list[_File]
    project_status: _Status = Field(default_factory=_Status, alias="project-status")


class _Info(BaseModel):
    home_page: str | None = None
    project_urls: dict[str, str] | None = None


class _Project(BaseModel):
    info: _Info


class Pypi:
    """An index that speaks PEP 691, and the JSON of projects where it has that."""

    def __init__(self, web: Web, cache: Cache, private: Sequence["Pypi"] = (), *, may_be_html: bool = False) -> None:
        """`private`: indexes that are asked first. A name that one of them has, or may have, is asked of no other."""
        self.web, self.cache, self.private, self.may_be_html = web, cache, private, may_be_html

    def page(self, name: str) -> RegistryPage | None:
        """None if the index does not have the name. Raises Unknown."""
        if owner := self.owner(name):
            return owner.page(name)
        return self.cache.get(f"{self.web.base} pypi page {name}", RegistryPage, lambda: self._page(name))

    def owner(self, name: str) -> "Pypi | None":
        """The private index that has a name. Raises Unknown."""
        return next((one for one in self.private if one.page(name) is not None), None)

    def has_source(self, name: str) -> bool:
        """Raises Unknown if the index has no JSON of projects."""
        if self.owner(name):
            return True  # whoever keeps the index has it; nobody else is to see it
        key = f"{self.web.base} pypi links {name}"
        links = self.cache.get(key, _Links, lambda: self._links(name))
        return links is not None and links.found

    def _page(self, name: str) -> RegistryPage | None:
        address = self.web.base.join(f"{quote(name, safe='')}/")
        accept = f"{SIMPLE}, text/html;q=0.1" if self.may_be_html else SIMPLE
        body = self.web.fetch("GET", address, MAX_PAGE_BYTES, headers={"Accept": accept})
        if body is None:
            return None
        is_html = self.may_be_html and body.lstrip()[:1] == b"<"
        simple = _of_html(name, str(address), body) if is_html else self.web.read(body, _Simple)
        _check_name(self.web, canonicalize_name(simple.name), name)
        releases: dict[str, RegistryRelease] = {}
        files: dict[str, list[_File]] = {}
        for file in simple.files:
            if version := _version_of(file.filename):
                files.setdefault(version, []).append(file)
        for version, of_it in files.items():
            releases[version] = self._release(name, of_it)
            if simple.project_status.status == "quarantined":
                releases[version] = releases[version].model_copy(update={"yanked": "the index has it in quarantine"})
        return RegistryPage(releases=releases)

    def _release(self, name: str, files: list[_File]) -> RegistryRelease:
        times = [file.upload_time for file in files if file.upload_time]
        reasons = [file.yanked for file in files if isinstance(file.yanked, str)]
        wheels = sorted(
            (not file.filename.endswith("-none-any.whl"), file.url) for file in files if file.filename.endswith(".whl")
        )
        return RegistryRelease(
            released=min(times) if times else None,
            yanked=one_line("".join(reasons[:1])) if all(file.yanked is not False for file in files) else None,
            hashes=frozenset(f"{kind}:{value}" for file in files for kind, value in file.hashes.items()),
            wheel=str(self.web.base.join(f"{name}/").join(wheels[0][1])) if wheels else None,
        )

    def _links(self, name: str) -> "_Links":
        base = str(self.web.base)
        if not base.endswith("/simple/"):
            raise Unknown(f"{self.web.base.host} does not say where the source is")
        address = f"{base.removesuffix('simple/')}pypi/{quote(name, safe='')}/json"
        project = self.web.get(address, _Project, MAX_PAGE_BYTES)
        if project is None:
            raise Unknown(f"{self.web.base.host} does not say where the source is")
        info = project.info
        return _Links(found=any(_is_forge(url) for url in [info.home_page or "", *(info.project_urls or {}).values()]))


class _Anchors(HTMLParser):
    """https://peps.python.org/pep-0503/: the files of a project, as links."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found.append(dict(attrs))


def _of_html(name: str, address: str, body: bytes) -> _Simple:
    """The page of a name as an index without JSON gives it. It says no times."""
    parser = _Anchors()
    parser.feed(body.decode("utf-8", "replace"))
    files = []
    for anchor in parser.found:
        url, _, fragment = urljoin(address, anchor.get("href") or "").partition("#")
        kind, _, digest = fragment.partition("=")
        hashes = {kind: digest} if digest else {}
        yanked = (anchor.get("data-yanked") or True) if "data-yanked" in anchor else False
        files.append(_File(filename=unquote(url.rpartition("/")[2]), url=url, hashes=hashes, yanked=yanked))
    return _Simple(name=name, files=files)


class _Links(Value):
    found: bool


def _check_name(web: Web, said: str, asked: str) -> None:
    if said != asked:
        raise Unknown(f"{web.base.host} tells of another name than {asked}")


def _version_of(filename: str) -> str | None:
    """https://packaging.python.org/en/latest/specifications/; None for eggs, installers and names of long ago."""
    try:
        if filename.endswith(".whl"):
            return str(parse_wheel_filename(filename)[1])
        return str(parse_sdist_filename(filename)[1])
    except (InvalidWheelFilename, InvalidSdistFilename, InvalidVersion):
        return None


def _is_forge(address: str) -> bool:
    try:
        host = urlsplit(address if "//" in address else f"//{address}").hostname or ""
    except ValueError:
        return False
    return FORGES.search(host) is not None


class _Dist(BaseModel):
    integrity: str = ""
    shasum: str = ""


class _NpmVersion(BaseModel):
    dist: _Dist = _Dist()
    scripts: Annotated[dict[str, Any] | None, _or_none(dict)] = None
    gypfile: Annotated[bool | None, _or_none(bool)] = None
    repository: Any = None
    homepage: Any = None


class _Packument(BaseModel):
    name: str
    versions: dict[str, _NpmVersion] = {}
    time: dict[str, Any] = {}
    dist_tags: dict[str, str] = {}

    model_config = {"alias_generator": lambda name: name.replace("_", "-")}


class _Moment(BaseModel):
    at: AwareDatetime


class Npm:
    """An npm registry: https://github.com/npm/registry/blob/main/docs/responses/package-metadata.md."""

    def __init__(self, web: Web, cache: Cache) -> None:
        self.web, self.cache = web, cache

    def page(self, name: str) -> RegistryPage | None:
        """None if the registry does not have the name. Raises Unknown."""
        return self.cache.get(f"{self.web.base} npm page {name}", RegistryPage, lambda: self._page(name))

    def _page(self, name: str) -> RegistryPage | None:
        packument = self.web.get(quote(name, safe="@"), _Packument, MAX_PAGE_BYTES)
        if packument is None:
            return None
        _check_name(self.web, packument.name, name)
        releases = {
            normal(Ecosystem.NPM, version): _npm_release(one, packument.time.get(version))
            for version, one in packument.versions.items()
            if semver.parse(version)
        }
        return RegistryPage(releases=releases, tags=packument.dist_tags)


def _npm_release(one: _NpmVersion, at: Any) -> RegistryRelease:
    marks = set(one.dist.integrity.split())
    if re.fullmatch(r"[0-9a-f]{40}", one.dist.shasum):
        marks.add("sha1-" + base64.b64encode(bytes.fromhex(one.dist.shasum)).decode())
    scripts = [name for name in INSTALL_SCRIPTS if (one.scripts or {}).get(name)]
    if one.gypfile and not {"preinstall", "install"} & set(scripts):
        scripts.append("install (node-gyp rebuild)")
    repository = one.repository.get("url") if isinstance(one.repository, dict) else one.repository
    try:
        released = _Moment(at=at).at
    except ValidationError:
        released = None
    return RegistryRelease(
        released=released,
        hashes=frozenset(marks),
        scripts=tuple(scripts),
        has_source=_npm_source(repository) or _npm_source(one.homepage),
    )


def _npm_source(link: Any) -> bool:
    """https://docs.npmjs.com/cli/configuring-npm/package-json#repository: addresses, and short forms of them."""
    if not isinstance(link, str) or len(link) > 2000:
        return False
    if re.fullmatch(r"(?:(?:github|gitlab|bitbucket):)?[\w.-]+/[\w.-]+|gist:\w+", link):
        return True
    scp = re.match(r"(?:git\+)?(?:ssh://)?git@([\w.-]+)[:/]", link)
    return _is_forge(scp[1] if scp else link.removeprefix("git+"))
