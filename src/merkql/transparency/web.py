"""HTTP requests with a deadline and a size limit, by urllib3 (extra ``merkql[witness]``)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CHUNK = 1 << 14


class WebError(OSError):
    """The server was unreachable, too slow, or did not answer in valid HTTP."""


@dataclass(frozen=True, slots=True)
class Response:
    """A status, the headers, and the whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Web:
    """An HTTP client that reuses connections. Safe to share between threads."""

    def __init__(self, timeout_s: float = 10.0) -> None:
        """``timeout_s``: for a whole request, until the last byte of the answer."""
        try:
            import urllib3
        except ImportError as error:
            raise ImportError(
                "HTTP needs the package urllib3: pip install 'merkql[witness]'"
            ) from error
        self.timeout_s = timeout_s
        self._library = urllib3
        self._pool = urllib3.PoolManager(retries=False, headers={"User-Agent": "merkql"})

    def request(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        content_type: str = "",
        size_max: int = 1 << 20,
    ) -> Response:
        """The response; redirects are not followed. ``WebError`` names the URL and the reason."""
        deadline = time.monotonic() + self.timeout_s
        headers = {"Content-Type": content_type} if content_type else {}
        try:
            answer = self._pool.request(
                method,
                url,
                body=body,
                headers={"User-Agent": "merkql", **headers},
                timeout=self._library.Timeout(total=self.timeout_s),
                preload_content=False,
                redirect=False,
            )
            try:
                content = self._read(answer, deadline, size_max)
            except BaseException:
                answer.close()  # do not wait for the rest
                raise
            answer.release_conn()
        except (self._library.exceptions.HTTPError, ValueError) as error:
            raise WebError(f"{url}: {error}") from None
        return Response(answer.status, answer.headers, content)

    def close(self) -> None:
        """Close the idle connections."""
        self._pool.clear()

    def _read(self, answer: Any, deadline: float, size_max: int) -> bytes:
        content = bytearray()
        while piece := answer.read1(CHUNK, decode_content=True):  # a server may trickle
            content += piece
            if len(content) > size_max:
                raise ValueError(f"the answer has more than {size_max} bytes")
            if time.monotonic() > deadline:
                raise ValueError(f"not all there after {self.timeout_s:g} s")
        return bytes(content)
