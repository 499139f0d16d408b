"""What servers answer on its way back: looked through for secrets where the server may have seen one."""

import logging
from collections.abc import Callable

from mitmproxy import http

from blocks.gateway.exchange import exchange_of
from blocks.gateway.http1 import answer, listener_of
from blocks.gateway.redaction import Inflater, Redactor, forms
from blocks.gateway.streams import Cleaning, Instead

log = logging.getLogger("lockgate.gateway")
_INFLATED = ("gzip", "x-gzip", "deflate")


def redactor(flow: http.HTTPFlow) -> Redactor:
    """For one answer: the secrets that its server may know, and those that addons put in beside."""
    known = listener_of(flow.client_conn).patterns(exchange_of(flow).host)
    added = exchange_of(flow).redact
    return Redactor((*known, *(form for value in added for form in forms(value))))


class AnswerRedaction:
    """The addon that redacts. It comes after all others, so that it sees what they leave."""

    def __init__(self, drop: Callable[[http.HTTPFlow], None]) -> None:
        self._drop = drop

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        try:
            self._clean(flow)
        except Exception:
            log.exception("a hook failed")
            self._drop(flow)

    def response(self, flow: http.HTTPFlow) -> None:
        """Bodies that an addon wanted whole."""
        try:
            cleaner = redactor(flow)
            if flow.response and flow.response.raw_content and cleaner.patterns:
                flow.response.content = cleaner.whole(flow.response.content or b"")
        except Exception:
            log.exception("a hook failed")
            flow.response = answer(502, "the answer could not be looked into")

    def _clean(self, flow: http.HTTPFlow) -> None:
        exchange = exchange_of(flow)
        if flow.response is None or exchange.is_refused:
            return
        if exchange.note:
            exchange.note.status = flow.response.status_code
        cleaner = redactor(flow)
        whole = exchange.is_for_model and not flow.response.stream
        if not cleaner.patterns:
            flow.response.stream = flow.response.stream or not whole
            return
        fields = [(cleaner.whole(name), cleaner.whole(value)) for name, value in flow.response.headers.fields]
        flow.response.headers = http.Headers(fields)
        flow.response.data.reason = cleaner.whole(flow.response.data.reason)
        if not whole and _has_body(flow.request, flow.response):
            self._clean_body(flow, flow.response, cleaner)

    def _clean_body(self, flow: http.HTTPFlow, response: http.Response, cleaner: Redactor) -> None:
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        transfer = response.headers.get("transfer-encoding", "chunked").strip().lower()
        if encoding not in ("identity", *_INFLATED) or transfer not in ("chunked", "identity"):
            flow.response = answer(502, "the server compressed its answer in a way that cannot be looked into")
            flow.response.stream = Instead(flow.response.content or b"")
            return
        inflater = None
        if encoding in _INFLATED:
            inflater = Inflater()
            for name in ("content-encoding", "content-length"):
                response.headers.pop(name, None)
            if flow.request.http_version == "HTTP/1.1":
                response.headers["transfer-encoding"] = "chunked"
        first = response.stream if callable(response.stream) else None
        response.stream = Cleaning(cleaner, inflater, first, lambda: self._drop(flow))


def _has_body(request: http.Request, response: http.Response) -> bool:
    """RFC 9112, section 6.3."""
    empty = response.status_code in (204, 304) or response.status_code < 200
    return not (request.method == "HEAD" or empty or response.headers.get("content-length") == "0")
