"""Change rules over new lines of Go, Rust, Ruby, Java, C# and PHP: what they reach, and where they are weak. They are
read line by line, for the platform has no parser of them."""

import functools
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from domain.policy.change import Change, text_of
from domain.policy.change_native import base_has, native_lines
from domain.policy.change_other_code import new_code_lines
from domain.policy.rule import Hit

_LANGUAGES = {
    ".go": "go", ".rs": "rust", ".rb": "ruby", ".java": "java", ".kt": "java", ".scala": "java", ".cs": "c#",
    ".php": "php",
}  # fmt: skip
_ENDINGS = {"go": (".go",), "rust": (".rs",)}
_REACHES = {
    "go": {
        "other programs": r"\bexec\.Command(?:Context)?\(|\bsyscall\.(?:Exec|ForkExec)\(|\bos\.StartProcess\("
        r"|\bplugin\.Open\(",
        "other machines": r"\b(?:http\.(?:Get|Post|Head|PostForm|NewRequest\w*|DefaultClient)|net\.(?:Dial\w*"
        r"|Lookup\w+|Listen\w*)"
        r"|smtp\.\w+|rpc\.Dial\w*)\b",
        "memory, C or what is meant for looking into it": r"\bunsafe\.[A-Z]|\"(?:unsafe|C|net/http/pprof"
        r"|expvar)\"|//go:linkname",
        "variables of the environment": r"\bos\.(?:Getenv|LookupEnv|Environ|ExpandEnv)\(",
        "the clock, and decides by it": r"\btime\.Now\(\)\.(?:Year|Month|Day|Weekday|Hour|YearDay|After|Before"
        r"|Unix\w*\(\)\s*[<>])",
    },
    "rust": {
        "other programs": r"\bCommand::new\(|\blibloading\b",
        "other machines": r"\b(?:TcpStream|UdpSocket|TcpListener)::|\b(?:reqwest|ureq|hyper|lettre)::"
        r"|\bto_socket_addrs\b",
        "memory or C": r"\bunsafe\s*(?:\{|fn\b|impl\b|extern\b)|\btransmute\b|\bextern\s+\"C\"",
        "variables of the environment": r"\benv::(?:vars?|var_os|vars_os)\b",
        "the clock, and decides by it": r"\bSystemTime::now\(\)|\b(?:Utc|Local)::now\(\)",
    },
}  # fmt: skip
_KEPT = r"\w{0,40}(?i:api_?key|(?:auth|access|session|csrf|bearer)_?token|secret|passw(?:or)?d|signature|hmac)\b"
_GIVEN = r"(?:FormValue|PostFormValue|PathValue|URL\.Query|Query|Param|Form|PostForm)\b"
_SAME = "a secret is compared by ==, which tells by its time how much of a guess is right, or with a written one"
_SQL = "a question to the database is put together from texts"
_TLS = "TLS certificates are no longer verified"
_SHELL = "a shell runs a text"
_YES = "whatever fails is taken for a yes"
_ANY = "what is read may make any object"
_LEFT = "a check is left out"
_SHOWN = "this page shows what is not its own"
_SENT = "a request chooses where somebody is sent to"
_RUN = "a request chooses what is run"
_FAST = "a password is kept by a hash that is guessed fast"
_CHOSEN = "a request chooses a path or an address"
_WEAK: dict[str, tuple[tuple[str, str], ...]] = {
    "go": (
        (r"\bInsecureSkipVerify\s*[:=]+\s*true\b", _TLS),
        (r"\.(?:Query|QueryRow|Exec|Raw)(?:Context)?\(\s*(?:\w+,\s*)?(?:fmt\.Sprintf\(|\"[^\"]{0,300}\"\s*\+)", _SQL),
        (r"\bexec\.Command(?:Context)?\(\s*(?:\w+,\s*)?\"(?:/bin/)?(?:ba|z|da)?sh\",\s*\"-\w*c\"", _SHELL),
        (rf"{_KEPT}\s*[!=]=\s*(?!\"\"|nil\b|\d)[\"\w]|[\w.)\]]\s*[!=]=\s*(?:\w+\.){{0,4}}{_KEPT}(?![(.])", _SAME),
        (rf"\b(?:os\.(?:ReadFile|Open|OpenFile|Create|Remove\w*)|http\.(?:ServeFile|Redirect|Get|Post"
         rf"|Head))\([^;]{{0,200}}\.{_GIVEN}",
         _CHOSEN),
        (r"\brecover\(\)[^}]{0,120}(?:=|\breturn)\s*true\b", _YES),
        (r"(?i)(?:^|[{;])\s*_(?:,\s*_)?\s*=\s*(?:\w+\.){0,4}(?:verify|authenticate|authorize|check_?(?:token"
         r"|password|auth|access|permission))\w*\(",
         "what a check says is thrown away"),
        (r"\btemplate\.(?:HTML|JS|URL|CSS|HTMLAttr)\(\s*(?!\")", _SHOWN),
        (r"\b(?:md5|sha1)\.\w+\([^;]{0,100}(?i:passw)", _FAST),
        (r"\b(?i:user|account)\.(?:ID|Name|Email|Login|Username)\s*==\s*(?:\"[^\"]{3}|\d\d)",
         "somebody is written down here by name, and may do what others may not"),
    ),
    "rust": (
        (r"\bdanger_accept_invalid_\w+\(\s*true|\bSslVerifyMode::NONE\b|\bdangerous\(\)\s*\.", _TLS),
        (r"\b(?:query|execute|sql_query|prepare)\w*\(\s*&?format!\(", _SQL),
        (r"\bCommand::new\(\s*\"(?:/bin/)?(?:ba|z|da)?sh\"", _SHELL),
        (rf"{_KEPT}\s*[!=]=\s*(?!\"\"|None\b|\d)[&\"\w]|[\w.)\]]\s*[!=]=\s*&?(?:\w+\.){{0,4}}{_KEPT}(?![(.])", _SAME),
        (r"(?i)(?:verify|check|auth\w*|allowed|permit\w*)\w*\([^;]{0,100}\.unwrap_or\(true\)", _YES),
    ),
    "ruby": (
        (r"(?<![.\w])(?:eval|system|exec)\b\s*\(?\s*(?!['\"][^'\"#]*['\"]\s*\)?\s*$)[\w\"'@]|\b(?:instance|class"
         r"|module)_eval\s*\(",
         "a text is run as a program"),
        (r"(?:`|%x.)[^`\n]{0,200}#\{", _SHELL),
        (r"\.permit!|\.update(?:_attributes)?\(\s*params\b|\.new\(\s*params\b(?!\s*\.(?:require|permit))",
         "a request chooses which fields are set"),
        (r"\bMarshal\.(?:load|restore)\b|\bYAML\.(?:unsafe_load|load)\b|\bOj\.load\b", _ANY),
        (r"\bVERIFY_NONE\b|\bverify:\s*false\b", _TLS),
        (r"\bskip_before_action\s+:?(?:verify|authenticate|authorize|require|check)", _LEFT),
        (r"\.(?:where|order|find_by_sql|execute|select_all)\(?\s*\"[^\"]{0,300}#\{", _SQL),
        (r"\.html_safe\b|\braw[ (]\s*(?![\"'])\w", _SHOWN),
        (r"\bredirect_to\s*\(?\s*params\b|\b(?:public_)?send\(\s*params\b|params\[[^\]]{0,60}\]\.(?:constantize"
         r"|classify)",
         "a request chooses where somebody is sent to, or what is called"),
        (rf"{_KEPT}\s*[!=]=\s*(?!\"\"|''|nil\b|\d)[\"'\w@]"
         rf"|[\w.)\]]\s*[!=]=\s*(?:@?\w+\.){{0,4}}{_KEPT}(?![(.?])", _SAME),
        (r"\brescue\b[^\n]{0,60}(?:;|\bthen\b)?\s*true\s*$", _YES),
    ),
    "java": (
        (r"\b(?:executeQuery|executeUpdate|execute|createQuery|createNativeQuery"
         r"|prepareStatement)\(\s*(?:\"[^\"]{0,300}\"\s*\+|String\.format\()",
         _SQL),
        (r"\bnew\s+(?:ObjectInputStream|XMLDecoder)\s*\(", _ANY),
        (r"\b(?:TrustAll\w*|NoopHostnameVerifier|ALLOW_ALL_HOSTNAME\w*)\b|\bX509TrustManager\s*\(\s*\)", _TLS),
        (r"\bcsrf\b[^;\n]{0,60}\bdisable\b|\.anyRequest\(\)\s*\.\s*permitAll\(|\bNoOpPasswordEncoder\b", _LEFT),
        (r"\b(?i:token|secret|password|otp|nonce)\w*\s*=[^;]{0,120}\bnew\s+Random\("
         r"|\bMath\.random\(\)[^;]{0,60}(?i:token|secret)",
         "a secret is made of numbers that can be foretold"),
        (rf"{_KEPT}\.equals\(|\.equals\(\s*(?:\w+\.){{0,4}}{_KEPT}\s*\)", _SAME),
        (r"\bcatch\s*\([^)]{0,80}\)\s*\{\s*return\s+true\b", _YES),
    ),
    "c#": (
        (r"\bDangerousAcceptAny\w+|\bServerCertificate(?:Custom)?ValidationCallback\s*\+?=", _TLS),
        (r"\bBinaryFormatter\b|\bTypeNameHandling\.(?:All|Auto|Objects)\b", _ANY),
        (r"\b(?:FromSqlRaw|ExecuteSqlRaw\w*|SqlCommand)\(\s*(?:\$@?\"|\"[^\"]{0,300}\"\s*\+)", _SQL),
        (r"\bProcess\.Start\(", "it starts programs"),
        (r"\[\s*(?:AllowAnonymous|IgnoreAntiforgeryToken)\b", _LEFT),
        (r"\bHtml\.Raw\(", _SHOWN),
        (r"\bcatch\s*(?:\([^)]{0,80}\))?\s*\{\s*return\s+true\b", _YES),
    ),
    "php": (
        (r"\b(?:eval|assert|create_function|unserialize|extract|shell_exec|passthru|system"
         r"|exec)\s*\(\s*[^)'\"]{0,60}\$",
         "a text is run as a program, or may make any object"),
        (r"\b(?:include|require)(?:_once)?\b\s*\(?[^;]{0,80}\$_(?:GET|POST|REQUEST|COOKIE)", _RUN),
        (r"(?:->(?:query|exec|prepare)|mysqli?_query)\s*\([^;]{0,200}(?:\"[^\"]{0,200}\$|['\"]\s*\.\s*\$)", _SQL),
        (r"\b(?:echo|print)\b[^;]{0,80}\$_(?:GET|POST|REQUEST|COOKIE)", _SHOWN),
        (r"\bSSL_VERIFY(?:PEER|HOST)\s*,\s*(?:false|0)\b|['\"]verify['\"]\s*=>\s*false", _TLS),
        (r"\b(?:md5|sha1)\s*\([^)]{0,60}(?i:passw)", _FAST),
        (r"\bheader\(\s*['\"]Location:[^;]{0,60}\$_(?:GET|POST|REQUEST)", _SENT),
        (rf"\$\w*{_KEPT}\s*[!=]==?\s*(?!['\"]['\"]|null\b|\d)[$'\"\w]"
         rf"|[\w)\]]\s*[!=]==?\s*\$(?:\w+->){{0,4}}{_KEPT}", _SAME),
    ),
}  # fmt: skip
_REACHED = {kind: {what: re.compile(one) for what, one in some.items()} for kind, some in _REACHES.items()}
_FOUND = {kind: tuple((re.compile(one), why) for one, why in some) for kind, some in _WEAK.items()}
_FORETOLD = re.compile(r"\"math/rand(?:/v2)?\"")
_MAKES_SECRETS = re.compile(
    r"(?i)\bfunc\s+(?:\([^)\n]{0,80}\)\s*)?\w*(?:token|secret|password|nonce|session_?id)\w*\s*\("
)
_CHARS = 2_000


def compiled_reaches(change: Change) -> Iterator[Hit]:
    """What new code of Go and Rust reaches, and no code of that language does on base."""
    has = functools.cache(functools.partial(base_has, change))
    for path, number, line, kind in _lines(change):
        for what, pattern in _REACHED.get(kind, {}).items():
            if pattern.search(line) and not has(_ENDINGS[kind], pattern):
                yield Hit(
                    f"it reaches {what}, which nothing of {kind} does on base: {line.strip()[:80]!r}", path, number
                )


def compiled_weak(change: Change) -> Iterator[Hit]:
    for path, number, line, kind in _lines(change):
        for pattern, why in _FOUND[kind]:
            if pattern.search(line):
                yield Hit(f"{why}: {line.strip()[:100]!r}", path, number)
                break
        if kind == "go" and _FORETOLD.search(line) and _MAKES_SECRETS.search(text_of(change.head, path) or ""):
            yield Hit(f"a secret is made of numbers that can be foretold: {line.strip()[:100]!r}", path, number)


def _lines(change: Change) -> Iterator[tuple[str, int, str, str]]:
    """(path, line number, line, language) of new lines of the product."""
    for path, number, line in native_lines(change):
        if (kind := _LANGUAGES.get(PurePosixPath(path).suffix.lower())) is not None:
            yield path, number, line[:_CHARS], kind
    for path, number, line, kind in new_code_lines(change):
        if kind in _ENDINGS:
            yield path, number, line[:_CHARS], kind
