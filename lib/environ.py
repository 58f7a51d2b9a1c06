"""Reading one setting after another from a mapping of texts, and remembering everything that is wrong."""

import re
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from lib.hosts import is_loopback

GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_NETLOC = re.compile(r"(([a-z0-9-]{1,63}\.)*[a-z0-9-]{1,63}|\[::1\])(:[0-9]{1,5})?")
_PERSONAL_ACCOUNTS = "9188040d-6c67-4c5b-b112-36a304b66dad"
_PLACEHOLDER = re.compile(r"<.*>|\{.*\}|change[-_ ]?me|your[-_ ].*|example|todo|x{3,}|(0+-?)+", re.IGNORECASE)


def host_of(url: str) -> str | None:
    """The host of an absolute http or https address that carries nothing but host, port and path; else None."""
    try:
        parts = urlsplit(url)
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        return None
    if parts.scheme not in {"http", "https"} or not port_is_valid or not _NETLOC.fullmatch(parts.netloc.lower()):
        return None
    return None if parts.query or parts.fragment or "?" in url or "#" in url else parts.hostname


class EnvironReader:
    """Reads one value after another and remembers what is wrong with each, so that all is told at once."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: list[str] = []
        self.development = self.get("ENVIRONMENT") == "development"

    def problem(self, name: str, what: str) -> None:
        """Remembers that the variable `name` is wrong."""
        self.problems.append(f"{name} {what}")

    def text(self, name: str, default: str = "") -> str:
        """A text that must be there, unless there is a default, and must not be a placeholder."""
        value = self.get(name) or default
        if not value:
            self.problem(name, "is missing")
        elif _PLACEHOLDER.fullmatch(value):
            self.problem(name, "is still a placeholder")
            return ""
        return value

    def choice[T: str](self, name: str, choices: tuple[T, ...]) -> T:
        """One of `choices`; the first of them is the default."""
        value = self.get(name) or choices[0]
        for known in choices:
            if value == known:
                return known
        self.problem(name, f"must be one of {', '.join(choices)}")
        return choices[0]

    def word(self, name: str, default: str) -> str:
        """A text without white space, as scopes and roles are."""
        value = self.text(name, default)
        if value and not re.fullmatch(r"[A-Za-z0-9_.-]{1,120}", value):
            self.problem(name, "must be a single word")
        return value

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """A whole number from `least` to `most`."""
        value = self.get(name) or str(default)
        if re.fullmatch(r"[0-9]{1,9}", value) and least <= int(value) <= most:
            return int(value)
        self.problem(name, f"must be a whole number from {least} to {most}")
        return default

    def guid(self, name: str) -> str:
        """A GUID that must be there, in small letters."""
        value = self.text(name)
        return self.as_guid(name, value) if value else ""

    def as_guid(self, name: str, value: str) -> str:
        """`value`, which must be a GUID, in small letters."""
        if not GUID.fullmatch(value.lower()) or _PLACEHOLDER.fullmatch(value):
            self.problem(name, "must be a GUID (for a tenant its id: never common, organizations or a domain)")
        elif value.lower() == _PERSONAL_ACCOUNTS:
            self.problem(name, "must not be the tenant of all personal accounts")
        return value.lower()

    def items(self, name: str, parse: Callable[[str, str], str]) -> list[str]:
        """The comma-separated values of `name`, each parsed; empty where the variable is."""
        return [parse(name, item.strip()) for item in self.get(name).split(",") if item.strip()]

    def url(
        self,
        name: str,
        default: str = "",
        *,
        hosts: tuple[str, ...] = (),
        suffixes: tuple[str, ...] = (),
        plain_http_in_development: bool = False,
    ) -> str:
        """An https address of nothing but host and port; the host is one of `hosts`, or ends as `suffixes` say."""
        value = self.text(name, default)
        if not value:
            return ""
        return self.as_url(
            name, value, hosts=hosts, suffixes=suffixes, plain_http_in_development=plain_http_in_development
        )

    def as_url(
        self,
        name: str,
        value: str,
        *,
        hosts: tuple[str, ...] = (),
        suffixes: tuple[str, ...] = (),
        plain_http_in_development: bool = False,
    ) -> str:
        """`value`, which must be such an address, in small letters and without a slash behind it."""
        value = value.rstrip("/").lower()
        host = host_of(value)
        if host is None or urlsplit(value).path:
            self.problem(name, "must be an absolute address without user, path, query or fragment")
        elif is_loopback(host):
            if not self.development:
                self.problem(name, "points to this machine, which only ENVIRONMENT=development allows")
            elif not value.startswith("https://") and not plain_http_in_development:
                self.problem(name, "must start with https://")
        elif not value.startswith("https://"):
            self.problem(name, "must start with https://")
        elif (hosts and host not in hosts) or (suffixes and not host.endswith(suffixes)):
            self.problem(name, f"must be a host among {', '.join(hosts or suffixes)}")
        return value

    def origin(self, name: str, value: str) -> str:
        """An exact web origin (RFC 6454): scheme, host and port, nothing behind them, never a pattern."""
        host = host_of(value)
        plain = self.development and host is not None and is_loopback(host)
        if host is None or value != value.lower() or urlsplit(value).path or value.endswith((":443", ":80")):
            self.problem(name, "must list exact origins such as https://app.contoso.com: no *, path or capital")
        elif not value.startswith("https://") and not plain:
            self.problem(name, "must list https:// origins")
        return value

    def host(self, name: str, value: str) -> str:
        """A host's name alone, as it stands in links."""
        if not re.fullmatch(r"(?=.{4,253}$)[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+", value):
            self.problem(name, "must list names of hosts such as app.fabric.microsoft.com")
        return value

    def scope(self, name: str, default: str, resources: tuple[str, ...]) -> str:
        """A permission of one of the `resources`, as Entra writes it."""
        value = self.text(name, default)
        named = [f"https://{resource}/" for resource in resources]
        permission = next((value.removeprefix(start) for start in named if value.startswith(start)), "")
        if value and not re.fullmatch(r"[A-Za-z.]{1,60}", permission):
            self.problem(name, f"must be a permission such as …/.default of {' or '.join(named)}")
        return value

    def get(self, name: str) -> str:
        """The text as it is; empty where it is absent."""
        return self._environ.get(name, "").strip()
