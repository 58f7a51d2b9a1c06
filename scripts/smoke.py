"""`python -m scripts.smoke --url https://gateway.example`: whether what was deployed works, as its callers see it.

Without `SMOKE_TOKEN` (an access token for the gateway, from the environment alone) only what anybody sees is checked;
with it one question is asked, twice. Without `--url` it is the local stack that runs here. Neither the token nor the
question nor the answer is printed.
"""

import argparse
import asyncio
import os
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from urllib.parse import parse_qs, urlsplit

import httpx

from scripts.findings import Finding, as_json, exit_code, failed, ok, skipped, summary
from scripts.visit import QUESTION, REQUEST_SECONDS, NotChecked, Unmet, Visit, json_of, seen, word

TOKEN = "SMOKE_TOKEN"  # noqa: S105  # the name of a variable
FOREIGN_ORIGIN = "https://smoke-test.invalid"
HEADERS = (
    "cache-control", "content-security-policy", "referrer-policy", "strict-transport-security",
    "x-content-type-options", "x-frame-options", "x-request-id",
)  # fmt: skip

type Check = Callable[[Visit], Awaitable[str]]
"""Returns what was seen, or raises `Unmet` or `NotChecked`."""


async def alive(visit: Visit) -> str:
    """The app is loaded."""
    began = visit.clock()
    reply = await visit.until("/api/health")
    if reply.status_code != httpx.codes.OK or json_of(reply) != {"status": "alive"}:
        cause = "the app is not loaded, or something else answers there"
        raise Unmet(str(reply.status_code), cause, "look at the deployment, and at the app's log stream")
    return f"after {visit.clock() - began:.1f} s"


async def ready(visit: Visit) -> str:
    """What every request stands on is there; an agent that is away only degrades."""
    reply = await visit.until("/api/health/ready")
    if reply.status_code != httpx.codes.OK:
        cause = "a setting is wrong, or Table Storage, Key Vault or Entra's keys cannot be reached"
        raise Unmet(seen(reply), cause)
    return word(json_of(reply).get("status"))


async def headers(visit: Visit) -> str:
    """Every reply carries them."""
    reply = await visit.get("/api/health")
    lacking = [name for name in HEADERS if name not in reply.headers]
    if lacking:
        cause = "something between here and the gateway takes headers away, or it is another release"
        raise Unmet(f"missing: {', '.join(lacking)}", cause, "look at the proxy in front of the app")
    return f"{len(HEADERS)} headers"


async def unknown_path(visit: Visit) -> str:
    """The gateway answers what nobody serves, too."""
    reply = await visit.get("/api/no-such-path")
    is_problem = reply.headers.get("content-type", "").startswith("application/problem+json")
    if reply.status_code != httpx.codes.NOT_FOUND or not is_problem or json_of(reply).get("code") != "not_found":
        cause = "the function `unmatched` is missing, or another app answers"
        raise Unmet(seen(reply), cause, "deploy the whole package again")
    return "404, problem+json"


async def anonymous(visit: Visit) -> str:
    """Nobody asks without saying who they are; where the challenge names a tenant, it is the right one."""
    reply = await visit.http.post(f"{visit.url}/api/query", json={"question": visit.question})
    challenge = reply.headers.get("www-authenticate", "")
    if reply.status_code != httpx.codes.UNAUTHORIZED or not challenge.startswith("Bearer"):
        raise Unmet(
            f"{reply.status_code}, expected 401", "strangers are not asked for a token: take it off the network"
        )
    if visit.tenant and "authorization_uri" in challenge and visit.tenant not in challenge:
        raise Unmet("401 of another tenant", "TENANT_ID is not the tenant that was expected")
    return "401, Bearer"


async def foreign_page(visit: Visit) -> str:
    """A page that is on no list gets no leave; the platform's own CORS would answer in the gateway's place."""
    asked = {"Origin": FOREIGN_ORIGIN, "Access-Control-Request-Method": "POST"}
    reply = await visit.http.options(f"{visit.url}/api/query", headers=asked)
    if "access-control-allow-origin" in reply.headers:
        cause = "pages of every origin may call: CORS of the platform is on"
        raise Unmet("let in", cause, "az functionapp cors remove --name NAME --resource-group GROUP --allowed-origins")
    return "no leave"


async def sign_in(visit: Visit) -> str:
    """A browser is sent to Entra, with PKCE, to come back here."""
    reply = await visit.get("/api/login")
    if reply.status_code == httpx.codes.NOT_FOUND and json_of(reply).get("code") == "not_found":
        raise NotChecked("sessions are off")
    target = urlsplit(reply.headers.get("location", ""))
    asked = {name: values[0] for name, values in parse_qs(target.query).items()}
    if reply.status_code != httpx.codes.FOUND or not target.path.endswith("/oauth2/v2.0/authorize"):
        raise Unmet(seen(reply), "sign-in does not lead to Entra")
    if asked.get("code_challenge_method") != "S256" or not (asked.get("code_challenge") and asked.get("state")):
        raise Unmet("no PKCE", "it is another release, or another app", "deploy again")
    if asked.get("redirect_uri") != f"{visit.public_url}/api/login/callback":
        cause = f"people would come back to another address than {visit.public_url}"
        raise Unmet("another redirect URI", cause, f"set PUBLIC_BASE_URL to {visit.public_url}")
    if visit.tenant and visit.tenant not in target.path.split("/"):
        raise Unmet(
            "another tenant", "TENANT_ID is not the tenant that was expected", f"set TENANT_ID to {visit.tenant}"
        )
    return "to Entra, with PKCE"


async def tls_only(visit: Visit) -> str:
    """Plain http is refused, or sent to https."""
    address = urlsplit(visit.url)
    if address.scheme != "https":
        raise NotChecked("plain http on this machine")
    try:
        reply = await visit.http.get(f"http://{address.netloc}/api/health")
    except httpx.TransportError:
        return "http is refused"
    if reply.is_redirect and reply.headers.get("location", "").startswith("https://"):
        return "http is redirected"
    cure = "az functionapp update --name NAME --resource-group GROUP --set httpsOnly=true"
    raise Unmet(str(reply.status_code), "requests, and tokens with them, may go over plain http", cure)


async def session(visit: Visit) -> str:
    """The gateway knows whose token it is."""
    reply = await visit.get("/api/session", **visit.bearer)
    if reply.status_code != httpx.codes.OK:
        cause = "the token is none for this gateway (audience, tenant, client, scope), or has expired"
        cure = f"DOCTOR_TOKEN=${TOKEN} python -m scripts.doctor --app NAME --resource-group GROUP tells why"
        raise Unmet(seen(reply), cause, cure)
    return f"{word(json_of(reply).get('kind'))}, until {word(json_of(reply).get('expires_at'))}"


async def agents(visit: Visit) -> str:
    """The agent that is to be asked is among those that may be."""
    reply = await visit.get("/api/agents", **visit.bearer)
    listed = json_of(reply).get("agents")
    if reply.status_code != httpx.codes.OK or not isinstance(listed, list):
        raise Unmet(seen(reply), "the agents cannot be listed")
    names = [word(agent["name"]) for agent in listed]
    visit.agent = visit.agent or next(iter(names), "")
    if visit.agent not in names:
        cause = f"the gateway has no agent {visit.agent or 'at all'} for this caller"
        raise Unmet(f"{len(names)} agents", cause, "look at DATA_AGENTS; apps may ask agents of identity `app` alone")
    return f"{len(names)}: {visit.agent} is asked"


async def answer(visit: Visit) -> str:
    """One question is answered, by the agent itself or by an answer kept while it is fresh."""
    began = visit.clock()
    reply = await visit.ask()
    characters = len(reply["answer"]["markdown"].strip())
    if not characters:
        raise Unmet("empty", "the agent's answer holds nothing that can be shown", "ask it in Fabric, and look there")
    if reply["cached"]["stale"]:
        raise Unmet("an earlier answer", "the agent fails, and the person's last answer was given in its place")
    return f"{characters} characters in {visit.clock() - began:.1f} s"


async def same_again(visit: Visit) -> str:
    """The same question is answered again; by a kept answer, where the agent's are kept."""
    reply = await visit.ask()
    return "kept" if reply["cached"]["hit"] else "asked anew"


FOR_ANYBODY: Mapping[str, Check] = {
    "alive": alive,
    "ready": ready,
    "headers": headers,
    "unknown path": unknown_path,
    "no token": anonymous,
    "foreign page": foreign_page,
    "sign-in": sign_in,
    "tls only": tls_only,
}
WITH_A_TOKEN: Mapping[str, Check] = {
    "session": session,
    "agents": agents,
    "question": answer,
    "same question": same_again,
}


async def look(visit: Visit) -> AsyncIterator[Finding]:
    """Each finding as soon as it is there. What is not alive is not looked at any further."""
    for name, check in FOR_ANYBODY.items():
        yield (finding := await _finding(name, check, visit))
        if name == "alive" and finding.status == "failed":
            yield skipped("everything else", "needs: alive")
            return
    if not visit.token:
        yield skipped("with a token", f"{TOKEN} is not set", f"export {TOKEN}=…, an access token for the gateway")
        return
    for name, check in WITH_A_TOKEN.items():
        yield (finding := await _finding(name, check, visit))
        if finding.status == "failed":
            return


async def _finding(name: str, check: Check, visit: Visit) -> Finding:
    try:
        return ok(name, await check(visit))
    except Unmet as unmet:
        return failed(name, unmet.detail, unmet.cause, unmet.cure)
    except NotChecked as reason:
        return skipped(name, str(reason))
    except httpx.HTTPError as fault:
        cause = "the gateway does not answer: its address, the network, or TLS is wrong, or it is not started"
        return failed(name, type(fault).__name__, cause, f"curl --include {visit.url}/api/health")
    except (KeyError, TypeError, AttributeError):
        return failed(name, "an odd reply", "it has not the form of docs/api.md: another release", "deploy again")


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Looks, and tells; returns 1 where anything has failed."""
    options = _options(arguments)
    token, trusted = environ.get(TOKEN, ""), ssl.create_default_context()
    if not options.url:
        options.url, token = _local_stack(token)
    if token and not _is_private(options.url):
        print(f"A token goes over https alone: {TOKEN} is not sent to this address.", file=sys.stderr)
        return 1
    return asyncio.run(_run(options, token, trusted))


async def _run(options: argparse.Namespace, token: str, trusted: ssl.SSLContext) -> int:
    url = options.url.rstrip("/")
    findings: list[Finding] = []
    async with httpx.AsyncClient(
        verify=trusted, trust_env=False, follow_redirects=False, timeout=REQUEST_SECONDS
    ) as http:
        visit = Visit(
            http,
            url,
            (options.public_url or url).rstrip("/"),
            options.tenant,
            options.agent,
            options.question,
            token,
            options.wait,
        )
        async for finding in look(visit):
            findings.append(finding)
            if not options.json:
                print(finding.told(), flush=True)
    print(as_json(url, findings) if options.json else f"\n{summary(findings)}: {url}")
    return exit_code(findings)


def _is_private(url: str) -> bool:
    """Whether nobody on the way reads what is sent there."""
    address = urlsplit(url)
    return address.scheme == "https" or address.hostname in {"localhost", "127.0.0.1", "::1"}


def _local_stack(token: str) -> tuple[str, str]:
    """The address of the stack that runs here, and a token for it. Ends the program where none runs."""
    from local import ask  # noqa: PLC0415  # for the local stack alone

    return ask.stack()["gateway"], token or ask.token("alice")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.smoke",
        description="Check a running gateway from outside; by default that of the local stack here.",
        epilog=f"{TOKEN}: an access token for the gateway; with it one question is asked, twice.",
    )
    parser.add_argument("--url", default="", help="its address, such as https://gateway.example")
    parser.add_argument("--public-url", default="", help="PUBLIC_BASE_URL, where that is another one")
    parser.add_argument("--tenant", default="", help="the tenant it has to be of")
    parser.add_argument("--agent", default="", help="which agent to ask (default: the first one)")
    parser.add_argument("--question", default=QUESTION, help="what to ask it")
    parser.add_argument("--wait", type=float, default=60, help="seconds to wait for a cold start")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
