"""The composition root: the one place that knows how the parts fit together.

Each part is made when it is first used, once, so that an import or a health check loads nothing heavy; its module is
imported there too. A gateway whose settings are wrong can still be made and asked whether it is alive: the parts that
need settings raise `NotReady`, and the log lists every problem, once.
"""

import logging
import ssl
from collections.abc import Mapping
from functools import cached_property
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING

from lib.errors import NotReady
from lib.prefetch import Prefetch
from lib.settings import Settings, SettingsInvalid
from lib.telemetry.exporting import Exporting
from lib.telemetry.logs import configure_logging
from lib.traffic.gcra import Meter, Rate
from lib.web.serve import Site

if TYPE_CHECKING:
    import httpx
    from azure.core.credentials_async import AsyncTokenCredential

    from lib.identity.entra import EntraClient
    from lib.identity.flows import Flows
    from lib.identity.known_tokens import KnownTokens
    from lib.identity.on_behalf_of import OnBehalfOf
    from lib.identity.revocation import Revocations
    from lib.identity.sessions import Sessions
    from lib.identity.sign_in import SignIn
    from lib.identity.signing_keys import SigningKeys
    from lib.identity.tokens import TokenValidator
    from lib.storage.key_vault import KeyVault
    from lib.storage.leases import Leases
    from lib.storage.row_keys import RowKeys
    from lib.storage.sealing import Sealer
    from lib.storage.standings import Standings
    from lib.storage.tables import Tables

FAILURES_AT_ONCE = 20

_log = logging.getLogger(__name__)


class Parts:
    """What every question stands on, made from `environ` on first use: connections, state and identity."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._invalid = False

    @cached_property
    def settings(self) -> Settings:
        """The settings. Raises `NotReady` where they are refused."""
        if self._invalid:
            raise NotReady
        configure_logging("INFO")
        try:
            settings = Settings.read(self._environ)
        except SettingsInvalid as refusal:
            self._invalid = True
            for problem in refusal.problems:
                _log.critical("a setting is wrong", extra={"event": "setting_wrong", "problem": problem})
            raise NotReady from refusal
        configure_logging(settings.log_level)
        for agent in settings.agents.values():
            if agent.address.translated:
                facts = {"agent": agent.name, "address": agent.address.url}
                _log.warning("an agent's address has an older form: set the one used here", extra=facts)
        return settings

    @property
    def site(self) -> Site:
        """What the boundary has to know; nothing at all while the settings are wrong."""
        try:
            return self._site
        except NotReady:
            return Site()

    @cached_property
    def _site(self) -> Site:
        settings = self.settings
        authorize = f"{settings.entra_authority_host}/{settings.tenant_id}/oauth2/v2.0/authorize"
        return Site(settings.allowed_origins | {settings.public_base_url}, authorize)

    @property
    def exporting(self) -> Exporting:
        """What leaves of telemetry; nothing at all while the settings are wrong."""
        try:
            return self._exporting
        except NotReady:
            return Exporting()

    @cached_property
    def _exporting(self) -> Exporting:
        return Exporting(self.settings.telemetry, self._blocking_credential)

    def _blocking_credential(self) -> object:
        from lib.identity.credentials import blocking_azure_credential

        return blocking_azure_credential(self.settings, self.settings.telemetry.client_id)

    @cached_property
    def prefetch(self) -> Prefetch:
        """What is imported before it is needed."""
        return Prefetch()

    @cached_property
    def http(self) -> "httpx.AsyncClient":
        """The pool of connections to Entra's keys and Graph: long questions take none of them."""
        return http_client(32)

    @cached_property
    def azure_credential(self) -> "AsyncTokenCredential":
        """What Azure's own services know the gateway by."""
        from lib.identity.credentials import azure_credential

        return azure_credential(self.settings, self.settings.managed_identity_client_id)

    @cached_property
    def key_vault(self) -> "KeyVault":
        """The secrets of the gateway."""
        from lib.storage.key_vault import KeyVault

        return KeyVault(self.settings.key_vault_url, self.azure_credential)

    @cached_property
    def tables(self) -> "Tables":
        """Shared state."""
        from lib.identity.credentials import azure_credential
        from lib.storage.tables import Tables

        state = self.settings.state_storage
        if state.connection_string:
            return Tables(state)
        return Tables(state, azure_credential(self.settings, state.managed_identity_client_id))

    @cached_property
    def leases(self) -> "Leases":
        """Which run of a timer works."""
        from lib.storage.leases import Leases

        return Leases(self.tables, now=self.tables.clock.now)

    @cached_property
    def sealer(self) -> "Sealer":
        """What makes records unreadable for everybody else."""
        from lib.storage.sealing import KeyRing, Sealer

        return Sealer(KeyRing(self.key_vault))

    @cached_property
    def row_keys(self) -> "RowKeys":
        """What rows are named by."""
        from lib.storage.row_keys import RowKeys

        return RowKeys(self.key_vault)

    @cached_property
    def revocations(self) -> "Revocations":
        """From when on tokens and sessions count."""
        from lib.identity.revocation import Revocations

        return Revocations(self.standings, self.row_keys, now=self.tables.clock.now)

    @cached_property
    def standings(self) -> "Standings":
        """The rows that say how principals stand."""
        from lib.storage.standings import Standings

        return Standings(self.tables)

    @cached_property
    def failures(self) -> Meter:
        """Credentials that are not genuine, and sign-ins that fail, by the address they come from."""
        return Meter(Rate.per_minute(self.settings.failures_per_minute, FAILURES_AT_ONCE))

    @cached_property
    def flows(self) -> "Flows":
        """Sign-ins under way."""
        from lib.identity.flows import Flows

        return Flows(self.sealer, self.tables, self.row_keys)

    @cached_property
    def sessions(self) -> "Sessions":
        """The sessions of people who signed in."""
        from lib.identity.sessions import Sessions

        return Sessions(
            self.tables,
            self.sealer,
            self.row_keys,
            idle_seconds=self.settings.session_idle_seconds,
            absolute_seconds=self.settings.session_absolute_seconds,
            now=self.tables.clock.now,  # compared with revocations, which go by that clock
        )

    @cached_property
    def signing_keys(self) -> "SigningKeys":
        """Entra's public keys."""
        from lib.identity.signing_keys import SigningKeys

        return SigningKeys(self.http, self.settings.entra_authority_host, self.settings.allowed_tenants)

    @cached_property
    def token_validator(self) -> "TokenValidator":
        """Decides which tokens count."""
        from lib.identity.tokens import TokenValidator

        return TokenValidator(self.settings, self.signing_keys)

    @cached_property
    def known_tokens(self) -> "KnownTokens":
        """Those that counted a moment ago."""
        from lib.identity.known_tokens import KnownTokens

        return KnownTokens(self.token_validator)

    @cached_property
    def entra(self) -> "EntraClient":
        """The token endpoint, as the gateway's own application."""
        from lib.identity.credentials import ClientCredential
        from lib.identity.entra import EntraClient

        credential = ClientCredential(self.settings, self.azure_credential, self.key_vault)
        return EntraClient(self.settings, credential)

    @cached_property
    def on_behalf_of(self) -> "OnBehalfOf":
        """Tokens for Fabric and Graph on a person's behalf."""
        from lib.identity.on_behalf_of import OnBehalfOf

        return OnBehalfOf(self.entra)

    @cached_property
    def sign_in(self) -> "SignIn":
        """Sign-in by redirect."""
        from lib.identity.sign_in import SignIn

        return SignIn(self.settings, self.entra, self.token_validator)


def http_client(connections: int) -> "httpx.AsyncClient":
    """A client with a pool of so many connections. Redirects and proxies are never followed, cookies never kept."""
    import httpx

    return httpx.AsyncClient(
        transport=http_transport(connections),
        follow_redirects=False,
        trust_env=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # else one person's would go with the next's
    )


def http_transport(connections: int) -> "httpx.AsyncHTTPTransport":
    """A pool of so many connections, past any proxy."""
    import httpx

    return httpx.AsyncHTTPTransport(
        verify=ssl.create_default_context(),
        trust_env=False,
        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=32),
    )
