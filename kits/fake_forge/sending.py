"""Sends webhooks, one after the other, signed; nothing is sent again by itself, as on GitHub.

https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries
"""

import hashlib
import hmac
import json
import threading
import time

import httpx

from kits.fake_forge.forge import ForgeState
from kits.fake_forge.store import Doc

TIMEOUT_S = 10.0


class Sender:
    """A thread that sends what is queued."""

    def __init__(self, forge: ForgeState) -> None:
        self._forge = forge
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="webhooks", daemon=True)
        self._client = httpx.Client(timeout=TIMEOUT_S, trust_env=False, verify=False)  # noqa: S501 loopback alone

    def start(self) -> None:
        self._forge.news.set()
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._forge.news.set()
        if self._thread.is_alive():
            self._thread.join(TIMEOUT_S + 5)
        self._client.close()

    def _work(self) -> None:
        while True:
            self._forge.news.wait()
            self._forge.news.clear()
            for delivery in self._forge.store.find("delivery", status="queued"):
                if self._ended.is_set():
                    return
                self._send(delivery)
            if self._ended.is_set():
                return

    def _send(self, delivery: Doc) -> None:
        body = json.dumps(delivery["request"]["payload"]).encode()
        headers = self._headers(delivery, body)
        begun = time.monotonic()
        try:
            answer = self._client.post(delivery["url"], content=body, headers=headers)
            code, status, text = answer.status_code, answer.reason_phrase, answer.text
            answered = dict(answer.headers)
        except httpx.TimeoutException:
            code, status, text, answered = 504, "timed out", "", {}
        except (httpx.HTTPError, httpx.InvalidURL) as err:
            code, status, text, answered = 502, "failed to connect to host", str(err), {}
        if 200 <= code < 300:
            status = "OK"
        secret = {name: value for name, value in headers.items() if not name.startswith("X-Hub-Signature")}
        delivery |= {
            "status_code": code,
            "status": status or str(code),
            "duration": round(time.monotonic() - begun, 2),
            "delivered_at": self._forge.stamp(),
            "request": {"headers": secret, "payload": delivery["request"]["payload"]},
            "response": {"headers": answered, "payload": text[:65_536]},
        }
        with self._forge.store.transaction():
            self._forge.store.save(delivery)
            hook = self._forge.store.get("hook", delivery["hook"]) if delivery["hook"] else None
            if hook:
                word = "active" if status == "OK" else "failed"
                hook["last_response"] = {"code": code, "status": word, "message": status}
                self._forge.store.save(hook)

    def _headers(self, delivery: Doc, body: bytes) -> dict[str, str]:
        hook = self._forge.store.get("hook", delivery["hook"]) if delivery["hook"] else None
        app = self._forge.store.get("app", delivery["app"]) if delivery["app"] else None
        secret = (hook["secret"] if hook else app["hook_secret"] if app else None) or ""
        target = (hook["repo"] if hook else delivery["app"]) or 0
        headers = {
            "Accept": "*/*",
            "Content-Type": "application/json",
            "User-Agent": "GitHub-Hookshot/fake",
            "X-GitHub-Delivery": delivery["guid"],
            "X-GitHub-Event": delivery["event"],
            "X-GitHub-Hook-ID": str(delivery["hook"] or delivery["app"]),
            "X-GitHub-Hook-Installation-Target-ID": str(target),
            "X-GitHub-Hook-Installation-Target-Type": "repository" if hook else "integration",
        }
        if secret:
            for name, digest in (("X-Hub-Signature", hashlib.sha1), ("X-Hub-Signature-256", hashlib.sha256)):
                headers[name] = f"{digest().name}={hmac.new(secret.encode(), body, digest).hexdigest()}"
        return headers
