"""What a question needs when it is answered later, by another instance perhaps: to be sealed, and read back there."""

import json
from dataclasses import asdict, dataclass, field

from lib.answers.cache import AnswerKey
from lib.answers.wanted import Wanted


@dataclass(frozen=True)
class Work:
    """A question as it is sent to the agent, what it counts as, and the `token` to ask with.

    The token is empty where whoever goes on with the work has one: the caller, or the gateway asking as itself.
    """

    wanted: Wanted
    text: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    def written(self) -> bytes:
        """The same as bytes."""
        return json.dumps(asdict(self), separators=(",", ":")).encode()


def read_work(data: bytes) -> Work:
    """The work that was written."""
    value = json.loads(data)
    wanted = value["wanted"]
    known = Wanted(**{**wanted, "key": AnswerKey(**wanted["key"]), "owner": tuple(wanted["owner"])})
    return Work(known, value["text"], value["token"])
