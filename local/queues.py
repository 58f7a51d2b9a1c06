"""Queue triggers: what the Azure Functions host does about the messages of a Storage queue.

The rules are those of `QueueListener` and `QueueProcessor` in Azure's extension for Storage queues (azure-sdk-for-net,
Microsoft.Azure.WebJobs.Extensions.Storage.Common):

- messages are taken in batches, and a batch is asked for while no more than `newBatchThreshold` are under way;
- a queue without messages, without existence or without a service is asked less and less often;
- a message is invisible to others while its function runs, and deleted after a success;
- after a failure it is visible again `visibilityTimeout` later; after `maxDequeueCount` of them, or where it is not
  base64, it goes to the poison queue.
"""

import asyncio
import logging
import random
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from azure.core.exceptions import AzureError, ResourceExistsError
from azure.storage.queue import QueueMessage
from azure.storage.queue.aio import QueueClient

from lib.settings import AZURITE
from local.messages import Message, received
from local.queue_options import SHORTEST_PAUSE, QueueOptions

INVISIBLE_SECONDS = 600
"""How long a message is out of sight at a time; for a function that runs on, this is renewed halfway."""
POISON = "-poison"

_LONGEST_NAME = 63
_ON_THIS_MACHINE = re.compile(r"(.*;)?QueueEndpoint=https?://(127\.0\.0\.1|localhost)[:/].*")
_log = logging.getLogger("local.queues")
_silent = logging.getLogger("local.queues.http")
_silent.disabled = True

type Deliver = Callable[[Message], Awaitable[bool]]
"""Runs a function for a message; tells whether it succeeded."""


class QueueListener:
    """The way of the messages of one queue to one function."""

    def __init__(
        self,
        connection: str,
        queue: str,
        deliver: Deliver,
        options: QueueOptions,
        *,
        uniform: Callable[[float, float], float] = random.uniform,
        invisible_seconds: int = INVISIBLE_SECONDS,
    ) -> None:
        self._queue = _client(connection, queue)
        self._poison = _client(connection, queue + POISON)
        self._has_poison = not queue.endswith(POISON) and len(queue + POISON) <= _LONGEST_NAME
        self._deliver = deliver
        self._options = options
        self._uniform = uniform
        self._invisible_seconds = invisible_seconds
        self._running: set[asyncio.Task[None]] = set()

    async def listen(self) -> None:
        """Delivers messages for ever. When it is cancelled, those under way are given up, to be visible again later."""
        nothing_found = 0
        async with self._queue, self._poison, asyncio.TaskGroup() as group:
            while True:
                messages = await self._receive()
                for message in messages:
                    task = group.create_task(self._process(message))
                    self._running.add(task)
                    task.add_done_callback(self._running.discard)
                nothing_found = 0 if messages else nothing_found + 1
                await (self._room() if messages else asyncio.sleep(self.pause(nothing_found)))

    def pause(self, nothing_found: int) -> float:
        """How long to wait after so many attempts in a row that found nothing."""
        pause = SHORTEST_PAUSE
        if nothing_found > 1:
            pause += self._uniform(0.8, 1.2) * 2 ** min(nothing_found - 2, 30) * SHORTEST_PAUSE
        return min(pause, self._options.max_polling_seconds)

    async def _receive(self) -> list[QueueMessage]:
        pages = self._queue.receive_messages(
            messages_per_page=self._options.batch_size, visibility_timeout=self._invisible_seconds
        ).by_page()
        try:
            page = await anext(pages, None)
            return [message async for message in page] if page else []
        except AzureError as fault:
            _log.debug("queue %s cannot be read: %s", self._queue.queue_name, type(fault).__name__)
            return []

    async def _room(self) -> None:
        """Returns once there is room for another batch."""
        while len(self._running) > self._options.new_batch_threshold:
            await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)

    async def _process(self, message: QueueMessage) -> None:
        handed, times = received(message), message.dequeue_count or 0
        runs = handed is not None and times <= self._options.max_dequeue_count
        try:
            if handed and runs and await self._run(message, handed):
                await self._queue.delete_message(message.id, message.pop_receipt)
            elif not self._has_poison:
                _log.warning("message %s of %s stays where it is", message.id, self._queue.queue_name)
            elif runs and times < self._options.max_dequeue_count:
                await self._queue.update_message(
                    message.id, message.pop_receipt, visibility_timeout=self._options.visibility_seconds
                )
            else:
                await self._bury(message)
        except AzureError as fault:
            name = type(fault).__name__
            _log.warning("queue %s is not told the end of message %s: %s", self._queue.queue_name, message.id, name)

    async def _run(self, message: QueueMessage, handed: Message) -> bool:
        """Whether the function succeeded; nobody else gets the message meanwhile."""
        ended = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_invisible(message, ended))
            try:
                return await self._deliver(handed)
            finally:
                ended.set()

    async def _keep_invisible(self, message: QueueMessage, ended: asyncio.Event) -> None:
        pause = self._invisible_seconds / 2
        while not await _is_set_within(ended, pause):
            try:
                renewed = await self._queue.update_message(
                    message.id, message.pop_receipt, visibility_timeout=self._invisible_seconds
                )
            except AzureError:
                pause = self._invisible_seconds / 10
            else:
                pause = self._invisible_seconds / 2
                message.pop_receipt = renewed.pop_receipt

    async def _bury(self, message: QueueMessage) -> None:
        _log.warning("message %s goes to %s", message.id, self._poison.queue_name)
        with suppress(ResourceExistsError):
            await self._poison.create_queue()
        await self._poison.send_message(message.content)
        await self._queue.delete_message(message.id, message.pop_receipt)


def listener_of(
    trigger: Mapping[str, Any], environ: Mapping[str, str], deliver: Deliver, options: QueueOptions
) -> QueueListener | None:
    """The listener of a queue trigger; None where its connection does not lead to this machine.

    From elsewhere nothing is taken: those messages are for the functions of somebody who is at work.
    """
    setting, queue = trigger["connection"], trigger["queueName"]
    connection = environ.get(setting, "")
    if connection == "UseDevelopmentStorage=true":
        connection = AZURITE
    if not _ON_THIS_MACHINE.fullmatch(connection):
        _log.warning("no messages are taken from queue %s: %s does not lead to Azurite", queue, setting)
        return None
    return QueueListener(connection, queue, deliver, options)


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


def _client(connection: str, queue: str) -> QueueClient:
    return QueueClient.from_connection_string(
        connection, queue, retry_total=0, connection_timeout=5, read_timeout=30, use_env_settings=False, logger=_silent
    )
