"""What all tests share: no network unless a test says that it runs on the local stack, and trust in nobody."""

import logging
from collections.abc import Iterator

import pytest
import pytest_socket
import trustme

from lib.telemetry import logs, signals


class Logged(logging.Handler):
    """Keeps every line that this process logs, with all its facts and the texts of its exceptions."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps one."""
        self.lines.append(f"{self.format(record)} {record.__dict__}")


LOGGED = pytest.StashKey[Logged]()


def pytest_configure(config: pytest.Config) -> None:
    """Listens from the first test to the last, at the gateway's most talkative."""
    config.stash[LOGGED] = Logged()
    logging.getLogger().addHandler(config.stash[LOGGED])
    logging.getLogger("lib").setLevel(logging.DEBUG)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Closes sockets for every test without the marker `stack`. Event loops keep their own pair of Unix sockets."""
    if item.get_closest_marker("stack"):
        pytest_socket.enable_socket()
    else:
        pytest_socket.disable_socket(allow_unix_socket=True)


def pytest_runtest_teardown() -> None:
    """Opens sockets again, for fixtures that outlive the test."""
    pytest_socket.enable_socket()


@pytest.fixture(scope="session", autouse=True)
def _nobody_is_trusted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Who is not told whom to trust trusts an authority that has signed nothing.

    Nothing here speaks to the world, and to read all the authorities that it trusts, which every client does for
    itself, takes longer than most tests.
    """
    authority = tmp_path_factory.mktemp("nobody") / "ca.pem"
    authority.write_bytes(trustme.CA().cert_pem.bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(authority))
        patch.setattr("certifi.where", lambda: str(authority))  # httpx asks it where nothing else is said
        yield


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Takes back what a gateway does to the process: its logging's levels and form, and who listens to its signals."""
    root = logging.getLogger()
    before = {handler: handler.formatter for handler in root.handlers}
    yield
    for handler, formatter in before.items():
        handler.setFormatter(formatter)
    logging.getLogger("lib").setLevel(logging.DEBUG)
    signals.reset()
    for name in (*logs.CHATTY, *logs.MUTE):
        logging.getLogger(name).setLevel(logging.NOTSET)
