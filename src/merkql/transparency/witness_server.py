"""A witness over HTTP: a WSGI application, served by waitress (extra ``merkql[witness]``)."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

from merkql.errors import CorruptionError
from merkql.transparency.witness import Witness
from merkql.transparency.witness_protocol import ADD_CHECKPOINT, BODY_SIZE_MAX, Answer, refusal

logger = logging.getLogger("merkql.witness")
Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], object]
THREADS = 4
IDLE_S = 30


def application(
    witness: Witness,
) -> Callable[[Environ, StartResponse], Iterable[bytes]]:
    """A witness's WSGI application, for any server, below any URL prefix."""

    def answer(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            said = route(witness, environ)
        except (CorruptionError, OSError) as error:
            logger.error("%s", error)
            said = refusal(500, "the state of this witness cannot be used")
        status = f"{said.status} {HTTPStatus(said.status).phrase}"
        headers = [("Content-Type", said.content_type), ("Content-Length", str(len(said.body)))]
        start_response(status, headers)
        return [said.body]

    return answer


def route(witness: Witness, environ: Environ) -> Answer:
    """The answer to one request: ``POST …/add-checkpoint`` or ``GET …/<log>/checkpoint``."""
    method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "").strip("/").split("/")
    if path[-1] == ADD_CHECKPOINT:
        if method != "POST":
            return refusal(405, "a checkpoint is added with POST")
        size = int(environ.get("CONTENT_LENGTH") or 0)
        if size > BODY_SIZE_MAX:
            return refusal(413, f"a request has at most {BODY_SIZE_MAX} bytes")
        return witness.add_checkpoint(environ["wsgi.input"].read(size))
    if path[-1] == "checkpoint" and len(path) >= 2:
        if method not in ("GET", "HEAD"):
            return refusal(405, "a checkpoint is read with GET")
        note = witness.published(path[-2])
        return refusal(404, "no such log") if note is None else Answer(200, note)
    return refusal(404, "there are add-checkpoint, and <SHA-256 of an origin>/checkpoint")


class Server:
    """A witness that listens on ``host`` and ``port`` (0: any free one)."""

    def __init__(self, witness: Witness, host: str, port: int) -> None:
        """Start listening; ``OSError`` if the port is taken."""
        try:
            from waitress.server import create_server
        except ImportError as error:
            raise ImportError(
                "serving needs the package waitress: pip install 'merkql[witness]'"
            ) from error
        # `localhost` may have several addresses: listen on one socket, which `stop` closes.
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0]
        server: Any = create_server(
            application(witness),
            host=address,
            port=port,
            threads=THREADS,
            channel_timeout=IDLE_S,
            max_request_body_size=BODY_SIZE_MAX,
            ident="merkql-witness",
        )
        self._server = server
        self.url = f"http://{host}:{server.effective_port}"

    def run(self) -> None:
        """Serve until ``stop``, or until Ctrl-C."""
        self._server.run()
        self._server.task_dispatcher.shutdown()

    def stop(self) -> None:
        """Make ``run`` return; from any thread."""
        self._server.trigger.pull_trigger(self._close_all)

    def close(self) -> None:
        """Release the port if ``run`` was never called or was interrupted."""
        self._close_all()

    def _close_all(self) -> None:
        """Without sockets left, the server's loop ends."""
        for dispatcher in list(self._server._map.values()):
            dispatcher.close()
