"""The composition root: the one place that knows how the parts fit together.

Each part is made when it is first used, once, so that an import or a health check loads nothing heavy; its module is
imported there too. A gateway whose settings are wrong can still be made and asked whether it is alive: the parts that
need settings raise `NotReady`, and the log lists every problem, once.
"""

import logging
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING

from lib import telemetry
from lib.agents.registry import AgentRegistry
from lib.errors import NotReady
from lib.limits.usage import Limits
from lib.readiness import Readiness
from lib.settings import Settings, SettingsInvalid
from lib.traffic.gcra import Meter, Rate
from lib.web.serve import Site

if TYPE_CHECKING:
    import httpx
    from azure.core.credentials_async import AsyncTokenCredential

    from lib.agents.data_agent import DataAgent
    from lib.answers.questions import Questions
    from lib.identity.entra import EntraClient
    from lib.identity.flows import Flows
    from lib.identity.on_behalf_of import OnBehalfOf
    from lib.identity.revocation import Revocations
    from lib.identity.sessions import Sessions
    from lib.identity.sign_in import SignIn
    from lib.identity.signing_keys import SigningKeys
    from lib.identity.tokens import TokenValidator
    from lib.limits.limiter import Limiter
    from lib.storage.key_vault import KeyVault
    from lib.storage.row_keys import RowKeys
    from lib.storage.sealing import Sealer
    from lib.storage.standings import Standings
    from lib.storage.tables import Tables

READERS = 2
FAILURES_AT_ONCE = 20
APP_CALLS_AT_ONCE = 10
REPEATS = 60
"""So many kept answers count as one question: they cost an instance a moment, and Fabric nothing."""

_log = logging.getLogger(__name__)


class Parts:
    """Every part of the gateway, made from `environ` on first use."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._invalid = False

    @cached_property
    def settings(self) -> Settings:
        """The settings. Raises `NotReady` where they are refused."""
        if self._invalid:
            raise NotReady
        telemetry.configure_logging("INFO")
        try:
            settings = Settings.read(self._environ)
        except SettingsInvalid as refusal:
            self._invalid = True
            for problem in refusal.problems:
                _log.critical("a setting is wrong", extra={"problem": problem})
            raise NotReady from refusal
        telemetry.configure_logging(settings.log_level)
        for agent in settings.agents.values():
            if agent.address.translated:
                _log.warning(
                    "an agent's address has an older form: set the one used here",
                    extra={"agent": agent.name, "address": agent.address.url},
                )
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

    @cached_property
    def http(self) -> "httpx.AsyncClient":
        """The one pool of connections to Fabric, Entra's keys and Graph. Redirects and proxies are never followed."""
        import httpx

        return httpx.AsyncClient(
            follow_redirects=False,
            trust_env=False,
            verify=ssl.create_default_context(),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # else one person's would go with the next's
            limits=httpx.Limits(max_connections=64, max_keepalive_connections=32),
        )

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
    def limiter(self) -> "Limiter":
        """How much each principal may ask."""
        settings = self.settings
        return self._limiter(
            Limits(settings.limit_per_minute, settings.limit_burst, settings.limit_per_day, settings.limit_in_flight)
        )

    @cached_property
    def app_limiter(self) -> "Limiter":
        """How often Fabric is called in the gateway's own name, which Fabric throttles as one."""
        return self._limiter(Limits(self.settings.app_calls_per_minute, APP_CALLS_AT_ONCE, name="app"))

    def _limiter(self, limits: Limits) -> "Limiter":
        from lib.limits.limiter import Limiter
        from lib.limits.safe_share import SafeShare

        share = SafeShare(limits, self.settings.max_instances)
        return Limiter(self.standings, share, limits, now=self.tables.clock.now)

    @cached_property
    def failures(self) -> Meter:
        """Credentials that are not genuine, and sign-ins that fail, by the address they come from."""
        return Meter(Rate.per_minute(self.settings.failures_per_minute, FAILURES_AT_ONCE))

    @cached_property
    def questions(self) -> "Questions":
        """The way of a question."""
        from lib.answers.cache import AnswerCache
        from lib.answers.questions import Questions

        settings = self.settings
        repeats = Meter(Rate.per_minute(REPEATS * settings.limit_per_minute, REPEATS * settings.limit_burst))
        cache = AnswerCache(settings.answer_cache_seconds, now=self.tables.clock.now)
        return Questions(cache, repeats, self.limiter, self.revocations, self.row_keys, now=self.tables.clock.now)

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

    @cached_property
    def agents(self) -> AgentRegistry:
        """The configured agents by name."""
        return AgentRegistry(self.settings.agents)

    @cached_property
    def data_agents(self) -> Mapping[str, "DataAgent"]:
        """The way to each agent, by name."""
        from lib.agents.data_agent import DataAgent

        hosts = self.settings.link_hosts
        readers = ThreadPoolExecutor(READERS, thread_name_prefix="answers")
        return {
            name: DataAgent(
                agent.address,
                self.http,
                link_hosts=hosts,
                readers=readers,
                charge=self._charge_app if agent.identity == "app" else None,
            )
            for name, agent in self.settings.agents.items()
        }

    async def _charge_app(self) -> None:
        settings = self.settings
        await self.app_limiter.charge(await self.row_keys.partition(settings.tenant_id, settings.client_id))

    @cached_property
    def readiness(self) -> Readiness:
        """Whether the gateway's peers answer."""
        return Readiness(
            {
                "table_storage": lambda: self.tables.ping(),
                "key_vault": lambda: self.key_vault.ping(),
                "signing_keys": lambda: self.signing_keys.ping(),
            },
            {name: agent.ping for name, agent in self.data_agents.items()},
        )
