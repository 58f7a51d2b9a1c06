"""`python -m local.token --person alice`: an access token for the running stack, alone on one line."""

import argparse

from local.ask import token

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m local.token", description="Get an access token.")
    parser.add_argument("--person", default="alice", help="whose token: alice or bob")
    print(token(parser.parse_args().person))
