"""One connection to the API server of the cluster that the user's configuration names."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakemake_interface_common.exceptions import WorkflowError

if TYPE_CHECKING:
    from kubernetes.client import ApiClient
    from urllib3 import BaseHTTPResponse

CONNECT_S = 5
READ_S = 20
POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class Stream:
    """The lines of an answer that goes on, as they come."""

    def __init__(self, response: BaseHTTPResponse) -> None:
        self._response = response
        self._closed = False

    def pieces(self, silence_s: float) -> Iterator[bytes]:
        """Bytes as they come; the last piece before the end may be part of a line.

        Parameters
        ----------
        silence_s
            How long nothing may come.

        Raises
        ------
        urllib3.exceptions.ReadTimeoutError
            If nothing came for so long.
        urllib3.exceptions.HTTPError
            If the connection broke.
        """
        from urllib3.exceptions import HTTPError

        connection = self._response.connection
        if connection is not None and getattr(connection, "sock", None) is not None:
            connection.sock.settimeout(silence_s)
        try:
            yield from self._response.stream(1 << 16, decode_content=True)
        except (HTTPError, OSError, ValueError):
            # ValueError: TLS, when another thread has closed it.
            if not self._closed:
                raise
        finally:
            self._response.close()

    def close(self) -> None:
        """End it, from any thread: who reads it comes to its end."""
        self._closed = True
        try:
            self._response.shutdown()
        except (AttributeError, OSError, RuntimeError, ValueError):
            # It has ended already, or an older urllib3 cannot: who reads it may take his time.
            return


@dataclass(frozen=True)
class Answer:
    """Status, headers and text of an answer, or what goes on in place of the text."""

    status: int
    headers: Mapping[str, str]
    text: str
    stream: Stream | None = None

    @property
    def message(self) -> str:
        """What the API server says about a refusal."""
        return self._word("message") or self.text.strip() or f"HTTP status {self.status}"

    @property
    def reason(self) -> str:
        """One word for it, such as AlreadyExists."""
        return self._word("reason")

    def _word(self, key: str) -> str:
        try:
            return json.loads(self.text).get(key, "")
        except (ValueError, AttributeError):  # an answer of something before the API server
            return ""


def in_pod() -> bool:
    """Tell whether the cluster is that of the pod in which this runs, with its service account."""
    return "KUBECONFIG" not in os.environ and "KUBERNETES_SERVICE_HOST" in os.environ


class Connection:
    """Sends requests with the user's credentials.

    Of the official client only what finds and renews credentials is used: it would turn the pods
    of a thousand Jobs into as many objects every few seconds.

    Attributes
    ----------
    namespace
        The namespace that the configuration, or the pod in which this runs, names.
    """

    def __init__(self) -> None:
        self.namespace = "default"
        self._client: ApiClient
        self.renew()

    def renew(self) -> None:
        """Read the credentials again, from the kubeconfig or, in a pod, from its service account.

        Raises
        ------
        WorkflowError
            If there are none.
        """
        from kubernetes import config
        from kubernetes.client import ApiClient, Configuration

        configuration = Configuration()
        try:
            if in_pod():
                config.load_incluster_config(client_configuration=configuration)
                self.namespace = POD_NAMESPACE.read_text(encoding="utf-8").strip()
            else:
                # Named here, for the client reads the variable only when it is imported.
                files = os.environ.get("KUBECONFIG") or "~/.kube/config"
                config.load_kube_config(files, client_configuration=configuration)
                _, context = config.list_kube_config_contexts(files)
                self.namespace = context["context"].get("namespace") or "default"
        except (config.ConfigException, OSError) as error:
            raise WorkflowError(
                f"No Kubernetes cluster is configured ({error}): set KUBECONFIG, or try `kubectl "
                "config current-context`."
            ) from error
        self._client = ApiClient(configuration)

    def send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | int] | None = None,
        body: Mapping[str, Any] | None = None,
        stream: bool = False,
    ) -> Answer:
        """Send one request, once.

        Parameters
        ----------
        method, path, query, body
            The request.
        stream
            Whether an answer that is no refusal goes on without end.

        Raises
        ------
        urllib3.exceptions.HTTPError
            If no whole answer came.
        """
        from urllib.parse import urlencode

        from urllib3 import Timeout

        client = self._client
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        client.update_params_for_auth(headers, [], ["BearerToken"])
        response = client.rest_client.pool_manager.request(
            method,
            client.configuration.host + path + ("?" + urlencode(query) if query else ""),
            body=None if body is None else json.dumps(body),
            headers=headers,
            timeout=Timeout(connect=CONNECT_S, read=READ_S),
            retries=False,
            redirect=False,
            preload_content=not stream,
        )
        if stream and response.status < 400:
            return Answer(response.status, response.headers, "", Stream(response))
        return Answer(response.status, response.headers, response.data.decode(errors="replace"))
