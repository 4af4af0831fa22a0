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
    """The WSGI application of a witness, to be served by any server, below any prefix."""

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
    """A witness that listens on ``host`` and ``port`` (0: one that is free)."""

    def __init__(self, witness: Witness, host: str, port: int) -> None:
        """Begin to listen; ``OSError`` if the port is taken."""
        try:
            from waitress.server import create_server
        except ImportError as error:
            raise ImportError(
                "serving needs the package waitress: pip install 'merkql[witness]'"
            ) from error
        # One address of several, as `localhost` may have: one socket to listen to, and to stop.
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
        """Have ``run`` return, from any thread."""
        self._server.trigger.pull_trigger(self._close_all)

    def close(self) -> None:
        """Let go of the port, where ``run`` was never called or was interrupted."""
        self._close_all()

    def _close_all(self) -> None:
        """With nothing left to listen to the loop of the server ends."""
        for dispatcher in list(self._server._map.values()):
            dispatcher.close()
