"""`python -m local.ask --person alice -- "total sales by month"`: one question to the running stack."""

import argparse
import ssl
import sys
from typing import Any

import httpx

from local import addresses

TIMEOUT_SECONDS = 230


def stack() -> dict[str, str]:
    """Where the running stack is. Ends the program where none runs."""
    return addresses.running() or sys.exit("No stack is running here: start one with `make run` in another shell.")


def token(person: str) -> str:
    """An access token for the gateway, as the script client would get it for this person."""
    where = stack()
    trusted = ssl.create_default_context(cafile=where["ca"])
    reply = httpx.get(f"{where['entra']}/local/token", params={"person": person}, verify=trusted, trust_env=False)
    if reply.status_code != httpx.codes.OK:
        sys.exit(reply.text.strip())
    return reply.text


def ask(person: str, question: str) -> dict[str, Any]:
    """The reply to one question. Ends the program, telling the problem, where it is not an answer."""
    reply = httpx.post(
        f"{stack()['gateway']}/api/query",
        json={"question": question},
        headers={"Authorization": f"Bearer {token(person)}"},
        timeout=TIMEOUT_SECONDS,
        trust_env=False,
    )
    value: dict[str, Any] = reply.json()
    if reply.status_code != httpx.codes.OK:
        sys.exit(f"{value['status']} {value['code']}: {value['detail']} (trace id {value['trace_id']})")
    return value


def main() -> None:
    """Asks, and prints the answer's markdown."""
    parser = argparse.ArgumentParser(prog="python -m local.ask", description="Ask the running stack one question.")
    parser.add_argument("--person", default="alice", help="who asks: alice or bob")
    parser.add_argument("question")
    options = parser.parse_args()
    if not options.question.strip():
        parser.error('ask something: make ask Q="total sales by month"')
    reply = ask(options.person, options.question)
    print(reply["answer"]["markdown"])
    print(f"\n({options.person} asked {reply['agent']}, answered in {reply['timing']['total_ms']} ms)", file=sys.stderr)


if __name__ == "__main__":
    main()
