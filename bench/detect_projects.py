"""Projects of the detection bench: name on the package index → SHA-256 of one source archive."""

PROJECTS: dict[str, str] = {
    "arrow": "ed0cc050e98001b8779e84d461b0098c4ac597e88704a655582b21d116e526d7",
    "attrs": "d03ceb89cb322a8fd706d4fb91940737b6642aa36998fe130a9bc96c985eff32",
    "click": "9bbfada76703fd1d784b83eea012e3e8c6a001a876543ef104fa56aaaeb072b4",
    "flask": "0ef0e52b8a9cd932855379197dd8f94047b359ca0a78695144304cb45f87c9eb",
    "markupsafe": "2e9ad7dd851bf45fab9f75cbff4cb493fee9979e8d8c7c9c3ee119022518edd6",
    "marshmallow": "9e6ffa8511012ca89732324c1c253efd7b4d35632dcbdf80aa793fe01804af3e",
    "more-itertools": "cbf08fd0af284dc69718b9b76a8e6203df624d70209ea511e4219d350c856f63",
    "pendulum": "9aceb5b24e9f55381df08187397e88546b5ba82f698b741cbf1a05c5e2369116",
    "pluggy": "d1eaa46ebb595891b860ab086b4d09c8588af65ebd4361b8e8f4bb8920b90ba8",
    "pytest-asyncio": "92c8fa83ca419fd0d4bd6a34df6520dae435841d3733c319343249492adf37f7",
    "python-dateutil": "d7295ff14fdc0f92f662100bfb6c551d160ca090f2939f1ec5b9794265c03f06",
    "requests": "d8be941a08cf36e4f424ac76073eb911e5e646a33fcb3402e1642c426bf34682",
    "sqlparse": "ca722573f848ff2d30e40ea30f53a104b7dea7635ea9285891263eb2c58fb6e7",
    "structlog": "f63a716cbd1b1291cf7661de7794b455acfa4c43c5bcf1630e6ad5ddc1adb3b7",
    "tenacity": "a606b5c808d0cded4a359d5b9932d867ff2a6a6b64d37350260fd01bbdf83839",
    "tomlkit": "ebd982d61446af95a1e082b103e250cb9e6d152eae2581d4a07d31a70b34ab0f",
    "ujson": "aef7ea4cd9e2e9f8a35c4538a9780d58c80d76c5da66a8dad269b4cc6d930c29",
}
