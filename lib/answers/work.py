"""What a question needs when it is answered later, by another instance perhaps: to be sealed, and read back there."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from lib.answers.cache import AnswerKey
from lib.answers.wanted import Wanted

if TYPE_CHECKING:
    from lib.answers.given import Given


@dataclass(frozen=True)
class Work:
    """A question as it is sent to the agent, what it counts as, and the `token` to ask with.

    The token is empty where whoever goes on with the work has one: the caller, or the gateway asking as itself.
    `question` is what was asked of it in the `conversation`, where it is to be noted there.
    """

    wanted: Wanted
    text: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    conversation: str = ""
    question: str = field(default="", repr=False)

    def for_looking(self) -> "Work":
        """What is still needed once the question was asked."""
        return replace(self, text="", token="")

    def written(self) -> bytes:
        """The same as bytes."""
        return json.dumps(asdict(self), separators=(",", ":")).encode()


type Note = Callable[[Work, "Given"], Awaitable[None]]
"""Is told of an answer to some work. It raises nothing."""


def read_work(data: bytes) -> Work:
    """The work that was written. What a later release has written beside it is passed over, as rows' readers do."""
    value = _known(Work, json.loads(data))
    wanted = _known(Wanted, value["wanted"])
    key, owner = AnswerKey(**_known(AnswerKey, wanted["key"])), tuple(wanted["owner"])
    return Work(**{**value, "wanted": Wanted(**{**wanted, "key": key, "owner": owner})})


def _known(kind: type[Any], value: dict[str, Any]) -> dict[str, Any]:
    return {each.name: value[each.name] for each in fields(kind) if each.name in value}
