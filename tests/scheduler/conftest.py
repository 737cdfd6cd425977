"""A small HTTP server that has one file."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@pytest.fixture
def serve() -> Iterator[Callable[[bytes], str]]:
    """Serves the bytes at the URL that it returns, and 404 for anything else."""
    servers: list[ThreadingHTTPServer] = []

    def start(text: bytes) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200 if self.path == "/mine.ics" else 404)
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}/mine.ics"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
