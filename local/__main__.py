"""`python -m local`: the whole stack in the foreground, until Ctrl-C."""

import argparse
import json
import signal
import sys
from dataclasses import replace

from local.azurite import AzuriteUnavailable
from local.serving import PortTaken
from local.stack import FOLDER, WELL_KNOWN_PORTS, Stack, StackError

ADDRESS_FILE = FOLDER / "stack.json"


def main() -> int:
    """Runs the stack; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m local", description="Run the gateway with all that it needs.")
    parser.add_argument("--port", type=int, default=WELL_KNOWN_PORTS.host, help="port of the gateway")
    parser.add_argument("--delay", type=float, default=1.5, help="seconds an agent thinks over a question")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    ports = replace(WELL_KNOWN_PORTS, host=options.port)
    try:
        with Stack(ports=ports, delay_seconds=options.delay) as stack:
            host = stack.start_host()
            _announce(stack)
            return host.process.wait()
    except KeyboardInterrupt:
        return 0
    except (AzuriteUnavailable, PortTaken, StackError) as fault:
        print(f"The stack cannot start: {fault}", file=sys.stderr)
        return 1
    finally:
        ADDRESS_FILE.unlink(missing_ok=True)


def _announce(stack: Stack) -> None:
    addresses = {"gateway": stack.public_url, "entra": stack.urls["entra"], "ca": str(stack.certificates.ca)}
    ADDRESS_FILE.write_text(json.dumps(addresses), encoding="utf-8")
    print(
        f"""
The gateway is ready at {stack.public_url}/api/health
  in a browser       {stack.public_url}/api/login   (Entra's certificate is the stack's own: accept it, or trust
                     {stack.certificates.ca})
  in a second shell  make ask Q="total sales by month" USER=alice
                     make token USER=bob
  Ctrl-C ends everything. State is kept in {FOLDER.name}/; make clean forgets it.
""",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
