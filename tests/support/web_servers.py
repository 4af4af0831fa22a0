"""Real HTTP servers for tests, each on a free port of this machine, ended with the block."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from merkql.transparency.witness import Witness
from merkql.transparency.witness_server import Server


@contextmanager
def witness_at(witness: Witness) -> Iterator[str]:
    """The URL of our witness server."""
    server = Server(witness, "127.0.0.1", 0)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server.url
    finally:
        server.stop()
        thread.join(20)
        assert not thread.is_alive()


Answering = Callable[[str, str, bytes], "tuple[int, str, bytes] | None"]


@contextmanager
def server_at(answer: Answering) -> Iterator[str]:
    """The URL of a server that answers as the function says; with None it hangs up.

    The standard library's, so that what it says on the wire is not ours.
    """

    class Handler(BaseHTTPRequestHandler):
        def _do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answered = answer(self.command, self.path, body)
            if answered is None:
                self.close_connection = True
                return
            status, content_type, content = answered
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def __getattr__(self, name: str) -> Any:
            if name in ("do_GET", "do_POST"):
                return self._do
            raise AttributeError(name)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
