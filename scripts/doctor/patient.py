"""The gateway under examination: its own parts, and the names that commands about it need.

A gateway that runs in Azure is known by its managed identity, which nobody else can be. Where that is not at hand, on
a developer's machine, the sign-in at the Azure CLI stands in for it: what that is refused tells nothing of the app.
"""

from contextlib import AsyncExitStack
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lib.gateway import Gateway
from lib.settings import Settings
from scripts.doctor.sources import Source

if TYPE_CHECKING:
    from lib.identity.principal import Principal
    from lib.storage.queues import Queue

YOURSELF = '"$(az ad signed-in-user show --query id --output tsv)"'
PROPAGATION = "a role takes effect within 5 to 10 minutes"


class Patient:
    """The gateway that `source` describes. `token` is a person's access token for it, empty where there is none."""

    def __init__(self, source: Source, token: str = "") -> None:
        self.source = source
        self.environ = source.environ
        self.token = token
        self.person: Principal | None = None
        """Whom the token speaks for, once it is proven."""
        self.as_developer = not self.environ.get("IDENTITY_ENDPOINT")

    @cached_property
    def gateway(self) -> Gateway:
        """The gateway, with nothing made yet but its settings. Raises `SettingsInvalid`."""
        settings = Settings.read(self.environ)
        made = Gateway(self.environ)
        made.settings = replace(settings, managed_identity=False) if self.as_developer else settings
        return made

    @property
    def settings(self) -> Settings:
        """Its settings."""
        return self.gateway.settings

    @cached_property
    def queue(self) -> "Queue":
        """The queue of long questions, as the gateway itself would open it."""
        from lib.answers.by_queue import QUEUE  # noqa: PLC0415  # heavy, and after the environment is set
        from lib.identity.credentials import azure_credential  # noqa: PLC0415
        from lib.storage.queues import Queue  # noqa: PLC0415

        state = self.settings.state_storage
        if state.connection_string:
            return Queue(state, QUEUE)
        return Queue(state, QUEUE, azure_credential(self.settings, state.managed_identity_client_id))

    @property
    def proves_the_app(self) -> bool:
        """Whether the app registration's credential can be had here."""
        return not (self.as_developer and self.settings.client_credential == "managed-identity")

    @property
    def app(self) -> str:
        """The options that name the app in a command."""
        group = self.source.resource_group or '"$RESOURCE_GROUP"'
        return f"--name {self.source.app or '"$APP"'} --resource-group {group}"

    @property
    def vault(self) -> str:
        """The vault's name."""
        return _first_label(self.settings.key_vault_url)

    @property
    def account(self) -> str:
        """The storage account's name."""
        return _first_label(self.settings.state_storage.table_url)

    def identity(self, client_id: str | None) -> str:
        """Who needs a role, as a command names them: the app's identity, or whoever is signed in at the Azure CLI."""
        if self.as_developer:
            return YOURSELF
        return client_id or f'"$(az functionapp identity show {self.app} --query principalId --output tsv)"'

    def set_command(self, *settings: str) -> str:
        """The command that sets app settings."""
        return f"az functionapp config appsettings set {self.app} --settings {' '.join(settings)}"

    async def close(self) -> None:
        """Closes what the examination has opened."""
        async with AsyncExitStack() as closing:
            made = vars(self).get("gateway")
            parts = vars(made) if made else {}
            for name in ("tables", "key_vault", "azure_credential"):
                if name in parts:
                    closing.push_async_callback(parts[name].close)
            for name in ("http", "fabric_http"):
                if name in parts:
                    closing.push_async_callback(parts[name].aclose)
            if "entra" in parts:
                closing.callback(parts["entra"].close)
            if "queue" in vars(self):
                closing.push_async_callback(partial(self.queue.close))


def _first_label(url: str) -> str:
    return (urlsplit(url).hostname or "").partition(".")[0]
