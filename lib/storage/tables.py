"""Table Storage: rows are inserted, read, merged and deleted; a write counts only where nobody was faster.

There is no upsert, on purpose: a late write by somebody who does not know that a row was deleted would bring it back,
and with it a session after its logout. Reads and deletes are repeated once; inserts and updates never: where only the
reply to the first was lost, the second would meet the first one's row and report a conflict that is none. Such a
write ends in `StateUnavailable`, and whether it counted is not known: who needs to know reads the row again.

While the account is away (its circuit is open) calls are refused without being made. What opens it is a call that
timed out, found no connection, or met a 5xx or a 429; a call with its repeat is one. All other 4xx are the call's own,
a conflict is everyday life, and a missing role is no outage.
"""

import math
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.data.tables.aio import TableServiceClient

from lib.errors import StateUnavailable
from lib.storage.azure_sdk import ONCE_MORE, OPTIONS, ServiceDown, one_call
from lib.storage.properties import Value, to_properties, to_values
from lib.storage.rows import Conflict, Page, Position, Row
from lib.storage.server_clock import ServerClock
from lib.traffic.circuit import Circuit, CircuitOpen

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.data.tables.aio import TableClient

    from lib.settings import StateStorage

_NO_TABLE = "TableNotFound"
_MISSING = {_NO_TABLE, "ResourceNotFound", "EntityNotFound"}
_CHANGED = 412
SEARCH_SECONDS = 8
"""How long a search through a whole table may take for a page: the service itself searches for up to five seconds.

https://learn.microsoft.com/rest/api/storageservices/query-timeout-and-pagination
"""


class Tables:
    """The tables of one storage account. Whatever fails without a name of its own here is `StateUnavailable`.

    `clock` is what time it is there.
    """

    def __init__(
        self,
        state: "StateStorage",
        credential: "AsyncTokenCredential | None" = None,
        *,
        circuit: Circuit | None = None,
        clock: ServerClock | None = None,
    ) -> None:
        """The key in a connection string counts where there is one (Azurite alone), else `credential`."""
        self._circuit = circuit or Circuit("table_storage")
        self.clock = clock or ServerClock()
        options = OPTIONS | {"raw_response_hook": self._hear}
        if state.connection_string:
            self._service = TableServiceClient.from_connection_string(state.connection_string, **options)
        else:
            self._service = TableServiceClient(state.table_url, credential=credential, **options)
        self._clients: dict[str, TableClient] = {}

    @property
    def away_since(self) -> float | None:
        """Since when the account is away, by the monotonic clock; None while it is not, whatever one call met."""
        return self._circuit.away_since

    def closed_for(self) -> float:
        """Seconds for which no call would be made, since the account is away; 0 where one would."""
        return self._circuit.closed_for()

    async def read(self, table: str, partition: str, key: str) -> Row | None:
        """The row, or None where there is none."""
        async with self._call("read", table):
            try:
                entity = await self._client(table).get_entity(partition, key, **ONCE_MORE)
            except HttpResponseError as fault:
                if _code(fault) in _MISSING:
                    return None
                raise
        return _row(entity)

    async def insert(self, table: str, partition: str, key: str, values: Mapping[str, Value]) -> Row:
        """A new row; the table is made where it is missing. Raises `Conflict` where the row exists already."""
        entity = {"PartitionKey": partition, "RowKey": key, **to_properties(values)}
        etag = await self._insert(table, entity)
        if etag is None:
            async with self._call("create", table):
                await self._service.create_table_if_not_exists(table)
            etag = await self._insert(table, entity)
        if etag is None:
            raise StateUnavailable
        return Row(partition, key, dict(values), etag)

    async def update(self, table: str, row: Row, changes: Mapping[str, Value]) -> Row:
        """The row with `changes` merged in; whatever else it holds stays, known to the caller or not.

        Raises `Conflict` where the row was changed or deleted since it was read.
        """
        entity = {"PartitionKey": row.partition, "RowKey": row.key, **to_properties(changes, row.values)}
        async with self._call("update", table):
            try:
                reply = await self._client(table).update_entity(
                    entity, etag=row.etag, match_condition=MatchConditions.IfNotModified
                )
            except HttpResponseError as fault:
                if fault.status_code == _CHANGED or _code(fault) in _MISSING:
                    raise Conflict from fault
                raise
            etag = reply["etag"]
        return replace(row, values={**row.values, **changes}, etag=etag)

    async def delete(self, table: str, partition: str, key: str, *, etag: str | None = None) -> None:
        """Deletes the row where there is one. With an `etag` raises `Conflict` where it was changed since."""
        match = MatchConditions.IfNotModified if etag else None
        async with self._call("delete", table):
            try:
                await self._client(table).delete_entity(partition, key, etag=etag, match_condition=match, **ONCE_MORE)
            except HttpResponseError as fault:
                if fault.status_code == _CHANGED:
                    raise Conflict from fault
                raise

    async def rows(self, table: str, partition: str, *, only: Sequence[str] = ()) -> AsyncGenerator[Row]:
        """All rows of a partition, in the order of their keys.

        With the names of values in `only` the rows come without their other values: to be looked at, not updated.
        """
        select = ",".join(("PartitionKey", "RowKey", *only)) if only else None
        query, parameters = "PartitionKey eq @partition", {"partition": partition}
        async for page in self._pages(table, query, parameters=parameters, select=select):
            for row in page.rows:
                yield row

    def expired(
        self, table: str, now: float, *, page: int = 100, start: Position | None = None
    ) -> AsyncGenerator[Page]:
        """The rows whose `expires` is before `now`, without their values: at most `page` at a time.

        Pages may be empty: Table Storage stops a long search every so often and says how to go on. That may be done
        later, from `start`, with the same `now` and `page`.
        """
        # As a parameter the SDK writes a number of this size without the L that makes it an Int64, as `expires` is.
        return self._pages(
            table,
            f"expires lt {int(now)}L",
            SEARCH_SECONDS,
            start,
            read_timeout=SEARCH_SECONDS,
            select="PartitionKey,RowKey",
            results_per_page=page,
        )

    def overdue(self, table: str, now: float, states: Sequence[str], *, page: int = 100) -> AsyncGenerator[Page]:
        """The rows in one of those `states` whose `deadline` is before `now`. Pages may be empty, as above."""
        in_one = " or ".join(f"state eq '{state}'" for state in states)
        query = f"deadline lt {now:.3f} and ({in_one})"
        return self._pages(table, query, SEARCH_SECONDS, read_timeout=SEARCH_SECONDS, results_per_page=page)

    async def ping(self) -> None:
        """Reads a row that nobody writes: the account answers, and lets this identity in."""
        await self.read("ping", "ping", "ping")

    async def close(self) -> None:
        """Closes the connections."""
        await self._service.close()

    @asynccontextmanager
    async def _call(self, operation: str, table: str, seconds: float | None = None) -> AsyncIterator[None]:
        """Bounds one call, where the circuit lets it be made."""
        try:
            with self._circuit.attempt(ServiceDown):
                async with one_call("tables", operation, seconds=seconds, table=table):
                    yield
        except CircuitOpen as fault:
            raise StateUnavailable(retry_after=math.ceil(fault.retry_after)) from fault

    def _hear(self, reply: Any) -> None:
        """What the SDK calls with each reply, errors too."""
        self.clock.hear(reply.http_response.headers.get("Date", ""))

    def _client(self, table: str) -> "TableClient":
        if table not in self._clients:
            self._clients[table] = self._service.get_table_client(table)
        return self._clients[table]

    async def _insert(self, table: str, entity: Mapping[str, Any]) -> str | None:
        """The new row's etag, or None where the table is missing."""
        async with self._call("insert", table):
            try:
                reply = await self._client(table).create_entity(entity, response_preference="return-no-content")
            except HttpResponseError as fault:
                code = _code(fault)
                if code == "EntityAlreadyExists":
                    raise Conflict from fault
                if code == _NO_TABLE:
                    return None
                raise
            return str(reply["etag"])

    async def _pages(
        self, table: str, query: str, seconds: float | None = None, start: Position | None = None, **options: Any
    ) -> AsyncGenerator[Page]:
        token: Any = start and {"PartitionKey": start.partition, "RowKey": start.key or None}
        pages: Any = self._client(table).query_entities(query, **options, **ONCE_MORE).by_page(token)
        while True:
            async with self._call("query", table, seconds):
                try:
                    page = await anext(pages, None)
                    entities = None if page is None else [entity async for entity in page]
                except HttpResponseError as fault:
                    if _code(fault) == _NO_TABLE:
                        return
                    raise
            if entities is None:
                return
            yield Page([_row(entity) for entity in entities], _position(pages.continuation_token))


def _position(token: Mapping[str, str | None] | None) -> Position | None:
    return Position(token["PartitionKey"] or "", token["RowKey"] or "") if token else None


def _row(entity: Any) -> Row:
    try:
        partition, key = entity["PartitionKey"], entity["RowKey"]
    except KeyError as fault:  # something else than Table Storage replied
        raise StateUnavailable from fault
    return Row(partition, key, to_values(entity), entity.metadata["etag"])


def _code(fault: HttpResponseError) -> str:
    """Table Storage's own word for what is wrong, which a status alone does not tell; empty where it gives none.

    https://learn.microsoft.com/rest/api/storageservices/table-service-error-codes
    """
    reply: Any = fault.response
    try:
        return str(reply.json()["odata.error"]["code"])
    except (AttributeError, LookupError, TypeError, ValueError):
        return ""
