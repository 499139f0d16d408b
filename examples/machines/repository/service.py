"""Says hello."""

import http.server
import json
import os
import sys


def answer(path: str) -> dict[str, str] | None:
    """What stands at an address; None for what is not there."""
    if path == "/health":
        return {"status": "pass", "releaseId": os.environ.get("RELEASE_ID", "")}
    if path == "/hello":
        return {"said": "hello"}
    return None


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        found = answer(self.path)
        body = json.dumps(found or {"problem": "there is no such page"}).encode()
        self.send_response(404 if found is None else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
