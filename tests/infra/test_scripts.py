"""The scripts that make keys and the app registration, run with an `az` of ours that remembers what it was told."""

import base64
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.infra.bicep import INFRA, parsed

AZ = """#!/bin/sh
# az keyvault secret: a folder per vault, a file per version; az rest: one file per call
set -eu
printf '%s\\n' "$*" >>"$AZ_HOME/calls"
case "$1 $2" in
  'account show') echo "$AZ_TENANT"; exit ;;
  'cloud show')
    case "$*" in *activeDirectory*) echo https://login.microsoftonline.com; exit ;; esac
    echo https://graph.microsoft.com/; exit ;;
esac
command="$1 $2 $3"
while [ $# -gt 0 ]; do
  case "$1" in --name) name=$2 ;; --file) file=$2 ;; --body) body=$2 ;; --url) url=$2 ;; --method) method=$2 ;; esac
  shift
done
case "$command" in
  'keyvault secret list'*) [ ! -e "$AZ_HOME/unreachable" ] || { echo 'vault unreachable' >&2; exit 1; } ;;
esac
case "$command" in
  'keyvault secret list') ls "$AZ_HOME/secrets" ;;
  'keyvault secret list-deleted') ls "$AZ_HOME/deleted" ;;
  'keyvault secret set')
    mkdir -p "$AZ_HOME/secrets/$name"
    cp "$file" "$AZ_HOME/secrets/$name/$(ls "$AZ_HOME/secrets/$name" | wc -l | tr -d ' ')" ;;
  rest*)
    [ "$method" = PATCH ] || { echo "$AZ_CLIENT"; exit; }
    printf '%s' "$body" >"$AZ_HOME/sent/$(ls "$AZ_HOME/sent" | wc -l | tr -d ' ')"
    printf '%s\\n' "$url" >>"$AZ_HOME/urls" ;;
esac
"""

TENANT = "1f0e7c1e-2b1b-4f0a-9d7f-0a3b5c7d9e11"
CLIENT = "2f0e7c1e-2b1b-4f0a-9d7f-0a3b5c7d9e22"
IDENTITY = "3f0e7c1e-2b1b-4f0a-9d7f-0a3b5c7d9e33"


class Azure:
    """What `az` has been told, and what it says."""

    def __init__(self, home: Path) -> None:
        self.home = home
        for folder in ("bin", "secrets", "deleted", "sent", "tmp"):
            (home / folder).mkdir()
        (home / "calls").touch()
        az = home / "bin" / "az"
        az.write_text(AZ)
        az.chmod(0o755)

    def run(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs a script of infra/."""
        environ = {
            "PATH": f"{self.home / 'bin'}:{os.environ['PATH']}",
            "AZ_HOME": str(self.home),
            "AZ_TENANT": TENANT,
            "AZ_CLIENT": CLIENT,
            "TMPDIR": str(self.home / "tmp"),
        }
        command = [str(INFRA / script), *arguments]
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)

    @property
    def calls(self) -> str:
        """Every command line."""
        return (self.home / "calls").read_text()

    def versions(self, name: str) -> list[str]:
        """The values that a secret had, oldest first."""
        return [path.read_text() for path in sorted((self.home / "secrets" / name).glob("*"))]

    def sent(self) -> list[tuple[str, Any]]:
        """What was sent to Graph."""
        bodies = [json.loads(path.read_text()) for path in sorted((self.home / "sent").iterdir())]
        return list(zip((self.home / "urls").read_text().split(), bodies, strict=True))


@pytest.fixture
def azure(tmp_path: Path) -> Azure:
    """An Azure without anything in it."""
    return Azure(tmp_path)


def test_keys_are_made_once(azure: Azure) -> None:
    """Two keys of 32 bytes; another run changes nothing."""
    for _ in range(2):
        assert azure.run("create-keys.sh", "kv-x").returncode == 0
    (index,), (sealing,) = azure.versions("index-key"), azure.versions("sealing-key")
    assert len(base64.b64decode(index, validate=True)) == len(base64.b64decode(sealing, validate=True)) == 32
    assert index != sealing


def test_a_rotation_adds_a_sealing_key_and_leaves_the_index_key(azure: Azure) -> None:
    """With another index-key nobody's rows would be found again."""
    azure.run("create-keys.sh", "kv-x")
    index, sealing = azure.versions("index-key"), azure.versions("sealing-key")
    assert azure.run("create-keys.sh", "kv-x", "--rotate").returncode == 0
    assert azure.versions("index-key") == index
    assert azure.versions("sealing-key")[:1] == sealing
    assert len(set(azure.versions("sealing-key"))) == 2


def test_the_first_run_may_be_a_rotation(azure: Azure) -> None:
    """One version is enough."""
    assert azure.run("create-keys.sh", "kv-x", "--rotate").returncode == 0
    assert len(azure.versions("index-key")) == len(azure.versions("sealing-key")) == 1


def test_a_vault_that_cannot_be_asked_is_not_an_empty_one(azure: Azure) -> None:
    """Nothing is made where it is not known what there is."""
    (azure.home / "unreachable").touch()
    assert azure.run("create-keys.sh", "kv-x").returncode != 0
    assert " set " not in azure.calls


def test_a_key_that_was_deleted_is_not_made_anew(azure: Azure) -> None:
    """It can be brought back, and the script says how."""
    (azure.home / "deleted" / "index-key").mkdir()
    ended = azure.run("create-keys.sh", "kv-x")
    assert ended.returncode == 1
    assert "recover --vault-name kv-x --name index-key" in ended.stderr
    assert " set " not in azure.calls


def test_a_key_is_on_no_command_line_and_in_no_file_afterwards(azure: Azure) -> None:
    """Whoever lists processes, or looks into the folder for temporary files, sees none."""
    ended = azure.run("create-keys.sh", "kv-x")
    for key in (*azure.versions("index-key"), *azure.versions("sealing-key")):
        assert key not in azure.calls + ended.stdout + ended.stderr
    assert list((azure.home / "tmp").iterdir()) == []


@pytest.mark.parametrize("arguments", [[], ["kv-x", "--force"], ["kv x"], ["kv-x", "--rotate", "more"]], ids=str)
def test_what_the_script_of_keys_does_not_understand_it_does_not_do(azure: Azure, arguments: list[str]) -> None:
    """It says how it is used."""
    ended = azure.run("create-keys.sh", *arguments)
    assert ended.returncode == 2
    assert "--rotate" in ended.stderr
    assert azure.calls == ""


def bicep_of(name: str) -> Any:
    """A resource of the template that makes the same."""
    return parsed(INFRA / "entra" / "main.bicep")["resources"][name]


def resolved(value: Any) -> Any:
    """A value of the template, with its variables in their place."""
    variables = {name: found["value"] for name, found in parsed(INFRA / "entra" / "main.bicep")["variables"].items()}
    if isinstance(value, dict):
        return {key: resolved(item) for key, item in value.items()}
    if isinstance(value, list):
        return [resolved(item) for item in value]
    return resolved(variables[value]) if isinstance(value, str) and value in variables else value


def claims(variable: str) -> list[str]:
    """The names in a loop of the template."""
    loop = parsed(INFRA / "entra" / "main.bicep")["variables"][variable]["value"]
    names: list[str] = loop["loop_type"]["detail"]["array_name"]
    return names


def test_script_and_template_register_the_same_application(azure: Azure) -> None:
    """One can go on where the other left off: ids, roles, permissions and claims are equal."""
    ended = azure.run("entra/register.sh", "--name", "contoso-gateway")
    assert (ended.returncode, ended.stdout) == (0, f"{CLIENT}\n"), ended.stderr
    (url, made), *_ = azure.sent()
    assert url == "https://graph.microsoft.com/v1.0/applications(uniqueName='contoso-gateway')"
    template = resolved(bicep_of("application")["config"])
    assert made["api"]["requestedAccessTokenVersion"] == template["api"]["requestedAccessTokenVersion"] == 2
    assert made["api"]["oauth2PermissionScopes"] == template["api"]["oauth2PermissionScopes"]
    assert made["appRoles"] == template["appRoles"]
    assert made["requiredResourceAccess"] == template["requiredResourceAccess"]
    assert made["web"]["implicitGrantSettings"] == template["web"]["implicitGrantSettings"]
    for kind in ("accessToken", "idToken"):
        assert [claim["name"] for claim in made["optionalClaims"][kind]] == claims(f"{kind}Claims")
    assert made["identifierUris"] == [f"api://{TENANT}/contoso-gateway"]


def test_the_registration_fits_the_gateway(azure: Azure) -> None:
    """Scope, roles and addresses are those that the code knows."""
    azure.run("entra/register.sh", "--name", "contoso-gateway", "--url", "https://ask.contoso.com/")
    (_, made), *_ = azure.sent()
    assert [scope["value"] for scope in made["api"]["oauth2PermissionScopes"]] == ["access_as_user"]
    assert [role["value"] for role in made["appRoles"]] == ["Query.All", "Gateway.Operate"]
    assert made["web"]["redirectUris"] == [
        "https://ask.contoso.com/api/login/callback",
        "https://ask.contoso.com/api/app",
    ]
    assert made["web"]["logoutUrl"] == "https://ask.contoso.com/api/logout/frontchannel"
    redirects = parsed(INFRA / "entra" / "main.bicep")["variables"]["redirectUris"]["value"]["operator"]["operands"]
    assert [re.sub(r"\$\{\w+\}", "https://ask.contoso.com", uri) for uri in redirects["false_value"]] == made["web"][
        "redirectUris"
    ]


def test_the_managed_identity_becomes_the_credential(azure: Azure) -> None:
    """Issuer, subject and audience as Entra compares them, letter by letter."""
    azure.run("entra/register.sh", "--name", "contoso-gateway", "--identity", IDENTITY)
    url, made = azure.sent()[-1]
    assert url.endswith(f"(appId='{CLIENT}')/federatedIdentityCredentials(name='managed-identity')")
    assert made == {
        "description": "The managed identity of the gateway",
        "issuer": f"https://login.microsoftonline.com/{TENANT}/v2.0",
        "subject": IDENTITY,
        "audiences": ["api://AzureADTokenExchange"],
    }
    template = bicep_of("credential")["config"]["config"]
    assert template["name"] == "${application.uniqueName}/managed-identity"
    assert template["audiences"] == made["audiences"]


def test_what_is_not_named_stays_as_it_is(azure: Azure) -> None:
    """A second run without the address does not take the redirect URIs away."""
    azure.run("entra/register.sh", "--name", "contoso-gateway")
    (_, made), (_, principal) = azure.sent()
    assert set(made["web"]) == {"implicitGrantSettings"}
    assert "spa" not in made
    assert "preAuthorizedApplications" not in made["api"]
    assert principal == {}


def test_clients_and_pages_can_be_named(azure: Azure) -> None:
    """Each by its own option, as often as wanted."""
    ended = azure.run(
        "entra/register.sh", "--name", "contoso-gateway", "--client", CLIENT, "--client", IDENTITY, "--multi-tenant",
        "--spa", "https://app.contoso.com/signed-in",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    (_, made), (_, let_in), *_ = azure.sent()
    assert made["spa"] == {"redirectUris": ["https://app.contoso.com/signed-in"]}
    assert made["signInAudience"] == "AzureADMultipleOrgs"
    scope = made["api"]["oauth2PermissionScopes"][0]["id"]
    assert let_in["api"]["preAuthorizedApplications"] == [
        {"appId": CLIENT, "delegatedPermissionIds": [scope]},
        {"appId": IDENTITY, "delegatedPermissionIds": [scope]},
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--name"],
        ["--name", 'x","a":"'],
        ["--name", "contoso-gateway", "--url", "http://ask.contoso.com"],
        ["--name", "contoso-gateway", "--url", 'https://x"'],
        ["--name", "contoso-gateway", "--identity", "me"],
        ["--name", "contoso-gateway", "--client", "me"],
        ["--name", "contoso-gateway", "--spa", "https://x/#"],
        ["--name", "contoso-gateway", "--display-name", 'a"b'],
        ["--delete"],
    ],
    ids=str,
)
def test_what_is_no_name_id_or_address_goes_nowhere(azure: Azure, arguments: list[str]) -> None:
    """It would stand in JSON as it is."""
    assert azure.run("entra/register.sh", *arguments).returncode != 0
    assert azure.calls == ""
