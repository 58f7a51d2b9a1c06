"""`python -m local`: the whole stack in the foreground, until Ctrl-C."""

import argparse
import signal
import sys
from dataclasses import replace

from local import addresses
from local.azurite import AzuriteUnavailable
from local.serving import PortTaken
from local.stack import WELL_KNOWN_PORTS, Stack, StackError


def main() -> int:
    """Runs the stack; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m local", description="Run the gateway with all that it needs.")
    parser.add_argument("--port", type=int, default=WELL_KNOWN_PORTS.host, help="port of the gateway")
    parser.add_argument("--delay", type=float, default=1.5, help="seconds an agent thinks over a question")
    options = parser.parse_args()
    if known := addresses.running():
        print(f"A stack already runs here, at {known['gateway']}: end it first.", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Stack(
            addresses.FOLDER, replace(WELL_KNOWN_PORTS, host=options.port), delay_seconds=options.delay
        ) as stack:
            return _run(stack)
    except KeyboardInterrupt:
        return 0
    except (AzuriteUnavailable, PortTaken, StackError) as fault:
        print(f"The stack cannot start: {fault}", file=sys.stderr)
        return 1


def _run(stack: Stack) -> int:
    host = stack.start_host()
    addresses.write(stack.public_url, stack.urls["entra"], stack.certificates.ca, stack.environment)
    try:
        _announce(stack)
        return host.process.wait()
    finally:
        addresses.forget()


def _announce(stack: Stack) -> None:
    print(
        f"""
The gateway is ready at {stack.public_url}/api/health
  in a browser       {stack.public_url}/api/login   (Entra's certificate is the stack's own: accept it, or trust
                     {stack.certificates.ca})
  in a second shell  make ask Q="total sales by region" USER=alice
                     make token USER=bob
  Ctrl-C ends everything. State is kept in {stack.folder.name}/; make clean forgets it.
""",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
