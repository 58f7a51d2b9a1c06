#!/usr/bin/env bash
# The app registration of the gateway, by az alone: the same as main.bicep beside this file, for those who cannot use
# the Graph extension of Bicep. It may be run as often as wanted: before the infrastructure is deployed, which needs the
# client id, and after it, with --identity and --url from the outputs of the deployment. What is not named stays as it is.
#
#   infra/entra/register.sh --name contoso-gateway
#   infra/entra/register.sh --name contoso-gateway --url https://ask.contoso.com --identity <identityPrincipalId>
set -euo pipefail

usage() {
  sed -n 's/^# \{0,1\}//p' "$0" >&2
  cat >&2 <<'TEXT'
  --name NAME          unique name of the registration
  --display-name TEXT  what people see when they consent (Fabric Data Agent Gateway)
  --url URL            where people reach the gateway
  --identity ID        object id of its managed identity
  --client ID          a client that needs no consent; may be repeated
  --spa URL            redirect URI of a single-page application; may be repeated
  --multi-tenant       people of other tenants may come
TEXT
  exit 2
}

fail() {
  echo "register.sh: $1" >&2
  exit 1
}

guid='^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$'
address='^https://[A-Za-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9._~/-]*)?$'
name='' display_name='Fabric Data Agent Gateway' url='' identity='' audience='AzureADMyOrg'
clients='' spas=''
scope_id='5f0b1b8e-52c0-4c33-9a55-2f6f0f5a1c01'

while [ $# -gt 0 ]; do
  case "$1" in
    --multi-tenant) audience='AzureADMultipleOrgs'; shift; continue ;;
    --name | --display-name | --url | --identity | --client | --spa) [ $# -ge 2 ] || usage ;;
    *) usage ;;
  esac
  case "$1" in
    --name) name=$2 ;;
    --display-name) display_name=$2 ;;
    --url) url=${2%/} ;;
    --identity) identity=$2 ;;
    --client)
      [[ $2 =~ $guid ]] || fail "--client wants an application id"
      clients+="${clients:+,}{\"appId\":\"$2\",\"delegatedPermissionIds\":[\"$scope_id\"]}" ;;
    --spa)
      [[ $2 =~ $address ]] || fail "--spa wants an https address"
      spas+="${spas:+,}\"$2\"" ;;
  esac
  shift 2
done

# What is checked here can stand in JSON as it is.
[[ $name =~ ^[a-z0-9-]{3,60}$ ]] || fail "--name wants 3 to 60 small letters, digits and hyphens"
[[ $display_name =~ ^[A-Za-z0-9\ .,_-]{1,100}$ ]] || fail "--display-name wants letters, digits, spaces and . , _ -"
[[ -z $url || $url =~ $address ]] || fail "--url wants an https address"
[[ -z $identity || $identity =~ $guid ]] || fail "--identity wants an object id"

tenant=$(az account show --query tenantId --output tsv)
login=$(az cloud show --query endpoints.activeDirectory --output tsv)
graph=$(az cloud show --query endpoints.microsoftGraphResourceId --output tsv)
application="${graph%/}/v1.0/applications(uniqueName='$name')"
web=''
if [ -n "$url" ]; then
  web="\"redirectUris\":[\"$url/api/login/callback\",\"$url/api/app\"],\"logoutUrl\":\"$url/api/logout/frontchannel\","
fi

# PATCH by unique name makes what is not there yet, and brings what is there to this state.
patch() {
  az rest --method PATCH --url "$1" --headers 'Content-Type=application/json' 'Prefer=create-if-missing' --body "$2" --output none
}

patch "$application" "{
  \"displayName\": \"$display_name\",
  \"signInAudience\": \"$audience\",
  \"identifierUris\": [\"api://$tenant/$name\"],
  \"api\": {
    \"requestedAccessTokenVersion\": 2,
    \"oauth2PermissionScopes\": [{
      \"id\": \"$scope_id\", \"value\": \"access_as_user\", \"type\": \"User\", \"isEnabled\": true,
      \"adminConsentDisplayName\": \"Ask data agents as the signed-in person\",
      \"adminConsentDescription\": \"Lets the application ask data agents through the gateway, with the rights of the signed-in person.\",
      \"userConsentDisplayName\": \"Ask data agents as you\",
      \"userConsentDescription\": \"Lets the application ask data agents through the gateway, with your rights.\"
    }]
  },
  \"appRoles\": [
    {\"id\": \"5f0b1b8e-52c0-4c33-9a55-2f6f0f5a1c02\", \"value\": \"Query.All\", \"isEnabled\": true,
     \"displayName\": \"Ask agents as an application\", \"allowedMemberTypes\": [\"Application\"],
     \"description\": \"Applications that ask the agents which answer everybody alike.\"},
    {\"id\": \"5f0b1b8e-52c0-4c33-9a55-2f6f0f5a1c03\", \"value\": \"Gateway.Operate\", \"isEnabled\": true,
     \"displayName\": \"Operate the gateway\", \"allowedMemberTypes\": [\"User\", \"Application\"],
     \"description\": \"Sees the details of readiness and ends the sessions of others.\"}
  ],
  \"web\": {$web\"implicitGrantSettings\": {\"enableAccessTokenIssuance\": false, \"enableIdTokenIssuance\": false}},
  ${spas:+\"spa\": {\"redirectUris\": [$spas]\},}
  \"optionalClaims\": {
    \"accessToken\": [{\"name\": \"acct\"}, {\"name\": \"idtyp\"}, {\"name\": \"login_hint\"}, {\"name\": \"sid\"}, {\"name\": \"acrs\"}],
    \"idToken\": [{\"name\": \"acct\"}, {\"name\": \"login_hint\"}, {\"name\": \"sid\"}]
  },
  \"requiredResourceAccess\": [
    {\"resourceAppId\": \"00000009-0000-0000-c000-000000000000\", \"resourceAccess\": [
      {\"id\": \"c6756612-6853-4145-a661-90c1d045b2dc\", \"type\": \"Scope\"}]},
    {\"resourceAppId\": \"00000003-0000-0000-c000-000000000000\", \"resourceAccess\": [
      {\"id\": \"e1fe6dd8-ba31-4d61-89e7-88639da4683d\", \"type\": \"Scope\"},
      {\"id\": \"37f7f235-527c-4136-accd-4a02d197296e\", \"type\": \"Scope\"},
      {\"id\": \"14dad69e-099b-42c9-810b-d002981feec1\", \"type\": \"Scope\"},
      {\"id\": \"7427e0e9-2fba-42fe-b0c0-848c9e6a8182\", \"type\": \"Scope\"}]}
  ]
}"

# A client can be let in without consent only once the scope is there.
if [ -n "$clients" ]; then
  patch "$application" "{\"api\": {\"preAuthorizedApplications\": [$clients]}}"
fi

client_id=$(az rest --method GET --url "$application?\$select=appId" --query appId --output tsv)
patch "${graph%/}/v1.0/servicePrincipals(appId='$client_id')" '{}'

if [ -n "$identity" ]; then
  # A wrong subject is accepted here, and refused when the gateway asks for its first token.
  patch "${graph%/}/v1.0/applications(appId='$client_id')/federatedIdentityCredentials(name='managed-identity')" "{
    \"description\": \"The managed identity of the gateway\",
    \"issuer\": \"${login%/}/$tenant/v2.0\",
    \"subject\": \"$identity\",
    \"audiences\": [\"api://AzureADTokenExchange\"]
  }"
fi

echo "$client_id"
echo "An administrator has to consent once: az ad app permission admin-consent --id $client_id" >&2
