"""Storage queues: a message leaves at once, and who reads it begins soon afterwards.

A message holds the ids of rows and nothing else: what it is about stays sealed in Table Storage. Sending is repeated
once. Where only the reply was lost there are two messages then, which is as good as one: whoever reads the second
finds the work begun.

Its text is base64, for that is what the host of Azure Functions takes a message for unless its host.json says
otherwise (https://learn.microsoft.com/azure/azure-functions/functions-bindings-storage-queue#hostjson-settings,
`messageEncoding`).
"""

from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from azure.core.exceptions import ClientAuthenticationError, ResourceExistsError, ResourceNotFoundError
from azure.storage.queue import TextBase64EncodePolicy
from azure.storage.queue.aio import QueueClient

from lib.errors import StateUnavailable
from lib.storage.azure_sdk import ONCE_MORE, OPTIONS, one_call

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken
    from azure.core.credentials_async import AsyncTokenCredential

    from lib.settings import StateStorage

_NO_QUEUE = "QueueNotFound"
_SCOPE = "https://storage.azure.com/.default"
_AT_ONCE: dict[str, Any] = {"initial_backoff": 0, "increment_base": 0, "random_jitter_range": 0}
"""The storage SDKs have a retry policy of their own: it knows `retry_total`, and lets 15 s pass before a repeat."""


class Queue:
    """One queue of a storage account. Whatever fails is `StateUnavailable`."""

    def __init__(self, state: "StateStorage", name: str, credential: "AsyncTokenCredential | None" = None) -> None:
        """The key in a connection string counts where there is one (Azurite alone), else `credential`."""
        self._name = name
        options = OPTIONS | _AT_ONCE | {"message_encode_policy": TextBase64EncodePolicy()}
        if state.connection_string:
            self._client = QueueClient.from_connection_string(state.connection_string, name, **options)
        else:
            only = cast("AsyncTokenCredential", _ForStorageAlone(credential)) if credential else None
            self._client = QueueClient(state.queue_url, name, only, **options)

    async def send(self, text: str, *, time_to_live_seconds: int) -> None:
        """Sends a message that nobody gets any more after so many seconds; the queue is made where it is missing."""
        if await self._send(text, time_to_live_seconds):
            return
        async with one_call("queue", "create", queue=self._name):
            with suppress(ResourceExistsError):  # another sender was faster
                await self._client.create_queue(**ONCE_MORE)
        if not await self._send(text, time_to_live_seconds):
            raise StateUnavailable

    async def exists(self) -> bool:
        """Whether the queue is there."""
        async with one_call("queue", "look", queue=self._name):
            try:
                await self._client.get_queue_properties(**ONCE_MORE)
            except ResourceNotFoundError as fault:
                if getattr(fault, "error_code", None) == _NO_QUEUE:
                    return False
                raise
        return True

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()

    async def _send(self, text: str, seconds: int) -> bool:
        """Whether it was sent: not where the queue is missing."""
        async with one_call("queue", "send", queue=self._name):
            try:
                await self._client.send_message(text, time_to_live=seconds, **ONCE_MORE)
            except ResourceNotFoundError as fault:
                if getattr(fault, "error_code", None) == _NO_QUEUE:
                    return False
                raise
        return True


class _ForStorageAlone:
    """A credential that gives tokens for storage, and for nothing else.

    This SDK asks for a token for whatever resource and tenant a 401 names, and sends it there: who takes the service's
    place would get one for the vault.
    """

    def __init__(self, credential: "AsyncTokenCredential") -> None:
        self._credential = credential

    async def get_token(self, *scopes: str, **_options: Any) -> "AccessToken":
        """What the SDK calls."""
        if scopes != (_SCOPE,):
            raise ClientAuthenticationError("a token for something else than storage was asked for")
        return await self._credential.get_token(_SCOPE)
