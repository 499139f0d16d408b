"""Projects of the detection bench, and how each says that its tests are run.

How they were chosen, before any of them was run: much used names of the index for each build backend (setuptools with
and without extension modules, hatchling, flit, poetry, pdm, uv_build, maturin, meson, scikit-build, backends of the
project's own), those that need a server, and those whose suites are no pytest. Of each the newest archive that
Python 3.11 may install, or the one that was pinned here before. Left out are archives without tests, and those whose
suites are known to take over ten minutes. None was taken out for how it went.
"""

from collections.abc import Mapping
from typing import NamedTuple


class Project(NamedTuple):
    """A source archive. What its own documents, tox, nox or CI files say is written down here by hand, so that it does
    not come from the code that is measured."""

    sha256: str
    install: str
    """Words for `uv pip install`, or for `uv` if the first is `sync`."""
    test: str = "pytest"
    environment: Mapping[str, str] = {}


PROJECTS: dict[str, Project] = {
    # setuptools
    "python-dateutil": Project(
        "d7295ff14fdc0f92f662100bfb6c551d160ca090f2939f1ec5b9794265c03f06",
        "-e . -r requirements-dev.txt",
        "pytest tests docs",
    ),
    "pluggy": Project("d1eaa46ebb595891b860ab086b4d09c8588af65ebd4361b8e8f4bb8920b90ba8", "sync --group testing"),
    "pytest-asyncio": Project("92c8fa83ca419fd0d4bd6a34df6520dae435841d3733c319343249492adf37f7", "sync --group test"),
    "cachetools": Project("30ac523adfc118b51d2b2e7bad8a0ddb31370dfe2700c7f10ca224f36ccf81e0", "-e . pytest pytest-cov"),
    "freezegun": Project(
        "ac7742a6cc6c25a2c35e9292dfd554b897b517d2dec26891a2e8debf205cb94a", "-e . -r requirements.txt"
    ),
    "python-slugify": Project(
        "cee32948083476013804de1667724fb1362dacb71e47b1d5d92adf8db6ee3298",
        "-r dev.requirements.txt -e .[unidecode,anyascii]",
    ),
    "tabulate": Project(
        "e2cfde8f79420f6deeffdeda9aaec3b6bc5abce947655d17ac662b126e48a60d",
        "-e . pytest",
        "pytest --doctest-modules --ignore benchmark",
    ),
    "toolz": Project("9667a038e9d6ecba37995e26cb2f59ec6420b6ad8dd9677de59db9b956b08490", "-e . --group test"),
    "xmltodict": Project("6d94c9f834dd9e44514162799d344d815a3a4faec913717a9ecbfa5be1bb8e61", "-e .[test]"),
    "responses": Project(
        "b0c11ca8131b8b227b8d5108e6ed39772222bd5aab030ed430e8f99057c4c409",
        "-e .[tests]",
        "pytest . --asyncio-mode=auto",
    ),
    "parso": Project("eaaac4c9fdd5e9e8852dc778d2d7405897ec510f2a298071453e5e3a07914bb1", "-e .[testing]"),
    "asgiref": Project("034cc8cbf72d00553b4be256703ac545120b4e50af13b49dec99da899aeeecb4", "-e .[tests] setuptools"),
    "mako": Project("cd6537fe88d5fec315c55c2f8529bc4ce7a9a352ad7db3eeaa6a66e2dd4ec37a", "-e . --group tests"),
    "python-dotenv": Project(
        "f0d53e69935a851c0dcc78f3ab7aaccd8cabef0b92382b576b824212902873c0", "-r requirements.txt -e ."
    ),
    "alembic": Project("83490def1f723413db5096591f7609ac52544805be93849170088ed04f5a2e0b", "-e . --group tests"),
    "httplib2": Project(
        "37900eb8a74576bd99fc39ae1dc8409f95f965d45b56cbcb2194bb55f58a90e1",
        "-e . -r requirements.txt -r requirements-test.txt",
    ),
    "pytest-mock": Project(
        "e36576e0985e01027e999891e7a966c67822d40c89ef1b4c8b6e22737e3590b4",
        ". pytest coverage mock pytest-asyncio",
        "pytest tests",
    ),
    "pytest-xdist": Project("7e578125ec9bc6050861aa93f2d59f1d8d085595d6551c2c90b6f4fad8d3a9f1", "-e .[testing]"),
    "pytest-timeout": Project(
        "7e68e90b01f9eff71332b25001f85c75495fc4e3a836701876183c4bcfd0540a", "-e . pytest pexpect ipdb pytest-cov"
    ),
    "mashumaro": Project("ed69d5bc548c76efbb5286cc0e541a6b8796e621385f986e25b750364011abf5", "-e . pytest"),
    "anyio": Project("59bb03251907983d1603d27c3087ddb1e93299ea2163adcdba37899a4fb12ffb", "-e . --group test"),
    "pyjwt": Project("4f259e80cdfb6b3fc18a7de51fd1ef9ec79652f25019bae68975ca2468a34df8", "-e .[crypto] --group tests"),
    "astroid": Project(
        "d515a105722b72098bbe82d430d65e635f742b6cbac3bdfaf8b7c188b87c5e39", "-e . -r requirements_full.txt"
    ),
    "dramatiq": Project("f9fbbd2feea27b3fa4085446242a24d86f78288b20c78a93f9f0bdbd7d908cd5", "-e . --group test"),
    "django-redis": Project("e48491c862f4350b0747ceb1016700686fb93c4f4e0fb9c490fe6c6658ffd933", "-e . --group test"),
    # setuptools with extension modules
    "markupsafe": Project("2e9ad7dd851bf45fab9f75cbff4cb493fee9979e8d8c7c9c3ee119022518edd6", "sync --group tests"),
    "ujson": Project("aef7ea4cd9e2e9f8a35c4538a9780d58c80d76c5da66a8dad269b4cc6d930c29", "-e . pytest"),
    "simplejson": Project("ffe34ab51a0d37e6d1c661a5672df00d2d5e18804e38eac07abffb83fa5ec3d7", "-e . pytest"),
    "psutil": Project("0746f5f8d406af344fd547f1c8daa5f5c33dbc293bb8d6a16d80b4bb88f59372", "-e .[test]"),
    "msgpack": Project("475c44e12f2a5de766a8448783f149c9b33f3f49b88953c6cd739a77d93c732c", "-e . --group dev"),
    "wrapt": Project("551cb49e88b3722faad780303833bc4fa70685fb1773270fb98b40d39d9fddbf", ".[dev]", "pytest tests"),
    "lxml": Project("45222d94ddd511536f3b2f7d9deae3b2339b4ce0f075f1ca25703b07cad9dd21", "-e .", "python test.py"),
    "zope.interface": Project(
        "0b47b62e8d0d99b24bcdd32f4f2120425e5019c3bee2ad69a0e1d75737487a96",
        "-e .[test]",
        "python -m unittest discover -s src/zope",
    ),
    "coverage": Project(
        "4f41d35b798714a2e79ec2097d6b03c92cd3b7de58e422fce7a1ca2c0c25b276", "-e . -r requirements/pytest.txt"
    ),
    "tornado": Project(
        "28e6311402af59c8b02e3fa0f5e7d8eb465b25081381803b127d97e6a4395d5a", "-e .", "python -m tornado.test"
    ),
    "asyncpg": Project("45e64e56714d888330b884aad1dfb363d0bf43fb343e3d1a8968525f3bade478", "-e . --group test"),
    # a backend of the project's own
    "pyyaml": Project("e24bf71af8a432d7808fabff134d38dfe16d3cbb41f2873bb4b1e42422de0a1a", "-e . pytest"),
    "yarl": Project(
        "03dd38de09bc213e9a8b29761eec33ee1d5318dac0e49d8af36e4d27830e23a7", "-e . -r requirements/test.txt"
    ),
    "frozenlist": Project(
        "3ede829ed8d842f6cd48fc7081d7a41001a56f1f38603f9d49bf3020d59a31ad", "-e . -r requirements/test.txt"
    ),
    # hatchling
    "attrs": Project("d03ceb89cb322a8fd706d4fb91940737b6642aa36998fe130a9bc96c985eff32", "sync --group tests"),
    "structlog": Project("f63a716cbd1b1291cf7661de7794b455acfa4c43c5bcf1630e6ad5ddc1adb3b7", "-e . --group tests"),
    "sqlparse": Project("ca722573f848ff2d30e40ea30f53a104b7dea7635ea9285891263eb2c58fb6e7", "sync"),
    "tenacity": Project("a606b5c808d0cded4a359d5b9932d867ff2a6a6b64d37350260fd01bbdf83839", "-e .[test]"),
    "humanize": Project("1d6a36c453dbfbb3f0b34601d2e0b4ce5d48d780305cd45714843f0068fde6ac", "-e .[tests] babel"),
    "urllib3": Project("63bf2ead4c879426ebf22ef2a781eeb4aa3b4ae798a0435506f8687fd5bb9b63", "sync --group dev"),
    "platformdirs": Project("96893d686e84e9e6f358a9ea41a8de544df66dbf2ba6cda250e7dc73acf85b9b", "-e . --group test"),
    "filelock": Project("4c5ee627c401f1863ac6a0de9a14a28d3bb5f8c730b45e2fd6e5dbc79cf34b9e", "-e . --group test"),
    "uvicorn": Project("a2e33cbfaa0306f8e6b0c13e0cb89d7d7a2da3e62b90c66e18c33d9807b28620", "-e . --group dev"),
    "starlette": Project("b8399098d4c1e3522734f7235dc79b1fc967f96cf139c81e0fa30479e0685f9b", "sync"),
    "jsonschema": Project(
        "0c26707e2efad8aa1bfc5b7ce170f3fccc2e4918ff85989ba9ffa9facb2be326",
        "sync --group test",
        "python -m virtue jsonschema",
        {"JSON_SCHEMA_TEST_SUITE": "json"},
    ),
    "soupsieve": Project(
        "13f70186c8f40bf8d0ff7bbab09a18fb149600b465269207b5e5b588f55fda08",
        "-e . pytest beautifulsoup4 lxml html5lib",
        "pytest tests",
    ),
    "beautifulsoup4": Project(
        "288e3ca7d54b06f2ac191970bc275c1939cb46d450b255bf6718b04aa37ab4f7",
        "-e . lxml html5lib packaging soupsieve pytest typing_extensions",
    ),
    "cattrs": Project(
        "679132bfdc225c5ee40c024fc42519954767c387f950dc6751946c586bccdc6d",
        "sync --all-groups --all-extras",
        "pytest tests",
    ),
    "svcs": Project("129efb89586c2c52295ee00b00562af7d85d5535dad149534993e25fccbd76a6", "sync --group cov"),
    "redis": Project(
        "6e1a19beef9225c83efd689c7e6b7da2d5215b1f42cd13b7fc3714d0a09c7b25", "-e . -r dev_requirements.txt"
    ),
    "rq": Project("b41e39b3c36ec3faf9e2402c638a0b25fe18ebb93a1cb15193bc69694f054618", "-e . psutil pytest pytest-cov"),
    "opentelemetry-api": Project("d7b0008e21e5fd61cbe7a7f34ca3b6905a78ab677d9bc395e299359c75cda6b4", "-e . pytest"),
    "isort": Project("d2298980ce44350f11d9d24c8150eaef1883431ec203dddbb4e9b5c3ceb54c70", "sync", "pytest tests/unit/"),
    # flit
    "arrow": Project(
        "ed0cc050e98001b8779e84d461b0098c4ac597e88704a655582b21d116e526d7",
        "-e . -r requirements/requirements-tests.txt",
    ),
    "click": Project("9bbfada76703fd1d784b83eea012e3e8c6a001a876543ef104fa56aaaeb072b4", "sync --group tests"),
    "flask": Project("0ef0e52b8a9cd932855379197dd8f94047b359ca0a78695144304cb45f87c9eb", "sync --group tests"),
    "marshmallow": Project("9e6ffa8511012ca89732324c1c253efd7b4d35632dcbdf80aa793fe01804af3e", "-e . --group tests"),
    "more-itertools": Project(
        "cbf08fd0af284dc69718b9b76a8e6203df624d70209ea511e4219d350c856f63", "-e .", "python -m unittest"
    ),
    "jinja2": Project(
        "0137fb05990d35f1275a587e9aee6d56da821fc83491a0fb838183be43f66d6d", "-e . -r requirements/tests.txt"
    ),
    "werkzeug": Project("55ca7c70a75689be937aa27f8ff4b018f06ff4838fc73045560bf0f5a1291060", "sync --group tests"),
    "pathspec": Project(
        "17db5ecd524104a120e173814c90367a96a98d07c45b2e10c2f3919fff91bf5a",
        "-e .",
        "python -m unittest discover -t . -s tests/",
    ),
    "packaging": Project("c4b671c41ddb9bf26e543c37723610d28fb6bf7affc4da17cf048d419d2c062a", "-e . --group test"),
    "idna": Project("a7db850025b95ded1eae8a46181a1a6c56c92c96f0e2b005d9ff8dc0210cab44", "-e .[all]"),
    "installer": Project(
        "5adc0c01ce62d809989e246987cd68944fe5df8af562d0358f65b2ab15cb5de7", "-e . -r tests/requirements.txt"
    ),
    "environs": Project("1bfc0d32b43692f28a6e294ad2b69903d43a214672ebcf3124a66d66b52b2418", "-e . --group tests"),
    "pyparsing": Project(
        "928ae7e20211f3b6f3915a72f06a0cfd29ab9d24279dd6346b6b1a7146397d36",
        "-e .[diagrams] pytest matplotlib",
        "pytest tests examples/tiny/tests",
    ),
    "flit_core": Project("84e4e4d8fdd45ba2613800a3ebc6834de26d47ec9746efc3719f94181137b460", "-e . pytest testpath"),
    "itsdangerous": Project(
        "e0050c0b7da1eea53ffaf149c0cfbb5c6e2e2b69c4bef22c81fa6eb73e5f6173", "-e . -r requirements/tests.txt"
    ),
    # poetry
    "tomlkit": Project(
        "ebd982d61446af95a1e082b103e250cb9e6d152eae2581d4a07d31a70b34ab0f",
        "-e . 'pytest>=6.2.5,<7' 'pytest-cov>=3,<4' 'PyYAML>=6,<7'",
        "pytest tests",
    ),
    "poetry-core": Project(
        "81d04c9253b19d0604718268d781867c8f7b2128e5b25bbf1e84141eec6b89c4",
        "-e . 'pytest>=9' 'pytest-cov>=3' 'pytest-mock>=3.10' build setuptools tomli-w virtualenv trove-classifiers",
    ),
    "cleo": Project(
        "0b2c880b5d13660a7ea651001fb4acb527696c01f15c9ee650f377aa543fd523",
        "-e . 'pytest>=7.1.2,<8' 'pytest-cov>=4,<5' 'pytest-mock>=3.8.2,<4'",
    ),
    "zeroconf": Project(
        "830315497af9bbd75924c2218cd3b64f0bde0e808ee316aabb5d9288836c0c43",
        "-e . 'pytest>=9.2.0,<10' 'pytest-cov<8' 'pytest-asyncio>=1.4.1,<1.5' 'cython>=3.3,<4' "
        "'setuptools>=84.2.1,<85' 'pytest-timeout<3' 'pytest-codspeed>=5.0.3,<6' blockbuster hypothesis",
    ),
    # pdm
    "typer": Project("b1998dc5f2c3dedafa1517a9521fa944cc4dc1fadcea085d81a3b10ebcaeb075", "-e . --group tests"),
    "pdm-backend": Project("7953b994563d3151755e3364b9d0cfe817ed0eaecdf27c8f777f412d26bcd98a", "-e . --group test"),
    "unearth": Project(
        "d85a7b164833c1dc8532a590043cbd7159f6ad2b91fc3e74f2a16ff25ed098c8",
        "-e . 'pytest>=6.1' pytest-httpserver flask requests-wsgi-adapter trustme pytest-mock",
        "pytest tests/",
    ),
    "findpython": Project("497c6b5eb13734be2542dfb6a93267946339601cbc2f1138c8cd4d40311fefe5", "-e . --group tests"),
    # uv_build
    "dnspython": Project("8d4d39a513e649d634004ce4d39ade2352efcea472a0247535a5c2d18a9d7ba9", "-e .[dev]"),
    "graphql-core": Project(
        "15d6eee7d4364fbc202833bc6bd0d504004d8ae7c0aaf620fa884d8e437622f2", "-e . --group test", "pytest tests"
    ),
    "click-extra": Project("d3187fddf72c3f2cffc0c38d345e3bdbec989a7b790a5fec473d85cd4d497943", "-e . --group test"),
    "extra-platforms": Project("77f9927d5c3ca286241ccba049d4ac6d8256e3df123779e036148fc94d0ff583", "-e . --group test"),
    "dj-database-url": Project("63c20e4bbaa51690dfd4c8d189521f6bf6bc9da9fcdb23d95d2ee8ee87f9ec62", "-e . --group dev"),
    # maturin
    "orjson": Project(
        "d1de5eb04485110c5da4c657e49168995d55e076b1ce60f1a042e254f4186c4f",
        "-e . -r test/requirements.txt",
        "pytest -q test",
    ),
    "rpds-py": Project("4793ef7f78268b124b73fa933440f01d258bbae01de9fa53e9080c9ab0425a12", "sync --group test"),
    "watchfiles": Project("99aee4a07847c06820765fd7b1b49ceac4f3f711ccb7d104655a33231de1c207", "sync"),
    # meson
    "contourpy": Project("083e12155b210502d0bca491432bb04d56dc3432f95a979b429f2848c3dbe880", ".[test]", "pytest tests"),
    # scikit-build
    "levenshtein": Project("22021caf5867a46fae5ab927bbdcb430599d7e5ee3898449cbbe430ff07b7d08", "-e . pytest"),
    "boost-histogram": Project(
        "d1738fbb8b014fe3a4643005978299d6de267bcd4468852a84d42027df700ffd",
        "-e . --group test",
        "pytest --benchmark-disable",
    ),
    # tests without pytest, and a suite of its own
    "django": Project(
        "ad03d8abc51dbff95ebf34b27123cf0c26a3b62db7ba0cd520783686362533d1",
        "-e . -r tests/requirements/py3.txt",
        "sh -c 'cd tests && python runtests.py --parallel=2'",
    ),
    # chosen later, for how their tests are run: hatch, nox, pdm, tox, setup.py alone, unittest alone, doctests
    "mkdocs": Project(
        "7b432f01d928c084353ab39c57282f29f92136665bdd6abf7c1ec8d822ef86f2",
        "-e .[i18n]",
        "python -m unittest discover -s mkdocs -p '*tests.py'",
    ),
    "webcolors": Project("62abae86504f66d0f6364c2a8520de4a0c47b80c03fc3a5f1815fedbef7c19bf", "-e . pytest"),
    "dep-logic": Project("2a3c49526075b0bc6825f0ea8c2d9f464de48b7b85f3f3d2900b4e5950fefedf", "-e . pytest"),
    "hatch-fancy-pypi-readme": Project(
        "9c58ed3dff90d51f43414ce37009ad1d5b0f08ffc9fc216998a06380f01c0045", "-e .[tests]"
    ),
    "textdistance": Project("d6dabc50b4ea832cdcf0e1e6021bd0c7fcd9ade155888d79bb6a3c31fce2dc6f", "-e .[test]"),
    "bottle": Project(
        "787e78327e12b227938de02248333d788cfe45987edca735f8f88e03472c3f47", "-e .", "python -m unittest discover"
    ),
    "pyasn1": Project(
        "6b11616a6bcf3a40e635f082bb232fa57b5e0dd7f517bd7ddd69ec3794508a47",
        "-e .",
        "python -m unittest discover -s tests",
    ),
    "python-stdnum": Project(
        "e95fcfa858a703d4a40130cb3eaac133c60d8808a7f3c98efeedac968c2479b9", "-e . pytest pytest-cov"
    ),
}
