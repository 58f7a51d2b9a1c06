extension microsoftGraphV1

// The app registration of the gateway, for those who may deploy resources of Microsoft Graph (Application.ReadWrite.All,
// or Application.ReadWrite.OwnedBy for a pipeline). register.sh makes the same without the extension; both use the same
// unique name and ids, so that one can go on where the other left off.
//
// It is deployed twice: before infra/main.bicep, which needs `clientId`, and after it, when the managed identity is known.

@description('Name by which Graph finds the registration again.')
@minLength(3)
@maxLength(60)
param uniqueName string

@description('What people see when they sign in and consent.')
param displayName string = 'Fabric Data Agent Gateway'

@description('Where people reach the gateway, without a slash at the end. Empty while it is not known.')
param publicBaseUrl string = ''

@description('Object id of the managed identity: output identityPrincipalId of infra/main.bicep. Empty while it is not known.')
param identityPrincipalId string = ''

@description('Redirect URIs of single-page applications that sign people in by themselves under this registration.')
param spaRedirectUris array = []

@description('Application ids of clients that need no consent to call the gateway. List them in ALLOWED_CLIENTS too.')
param preAuthorizedClientIds array = []

@description('AzureADMultipleOrgs where ALLOWED_TENANTS has other tenants.')
@allowed(['AzureADMyOrg', 'AzureADMultipleOrgs'])
param signInAudience string = 'AzureADMyOrg'

// Ids have to be unique within the registration alone, and must stay as they are.
var scopeId = '5f0b1b8e-52c0-4c33-9a55-2f6f0f5a1c01'
var queryRoleId = '5f0b1b8e-52c0-4c33-9a55-2f6f0f5a1c02'
var operateRoleId = '5f0b1b8e-52c0-4c33-9a55-2f6f0f5a1c03'

var redirectUris = empty(publicBaseUrl) ? [] : [
  '${publicBaseUrl}/api/login/callback'
  '${publicBaseUrl}/api/app' // where Entra sends people after they signed out
]
// Who is a guest (acct), whether an app asks (idtyp), whose sign-in has ended (sid), whom the sign-out page is for
// (login_hint), and which authentication contexts were met (acrs).
var accessTokenClaims = [for claim in ['acct', 'idtyp', 'login_hint', 'sid', 'acrs']: {
  name: claim
  essential: false
  additionalProperties: []
}]
var idTokenClaims = [for claim in ['acct', 'login_hint', 'sid']: {
  name: claim
  essential: false
  additionalProperties: []
}]
var preAuthorizedApplications = [for preAuthorizedId in preAuthorizedClientIds: {
  appId: preAuthorizedId
  delegatedPermissionIds: [scopeId]
}]

resource application 'Microsoft.Graph/applications@v1.0' = {
  uniqueName: uniqueName
  displayName: displayName
  signInAudience: signInAudience
  identifierUris: [
    'api://${tenant().tenantId}/${uniqueName}'
  ]
  api: {
    // the gateway takes tokens of version 2 alone
    requestedAccessTokenVersion: 2
    oauth2PermissionScopes: [
      {
        id: scopeId
        value: 'access_as_user'
        type: 'User'
        isEnabled: true
        adminConsentDisplayName: 'Ask data agents as the signed-in person'
        adminConsentDescription: 'Lets the application ask data agents through the gateway, with the rights of the signed-in person.'
        userConsentDisplayName: 'Ask data agents as you'
        userConsentDescription: 'Lets the application ask data agents through the gateway, with your rights.'
      }
    ]
    preAuthorizedApplications: preAuthorizedApplications
  }
  appRoles: [
    {
      id: queryRoleId
      value: 'Query.All'
      displayName: 'Ask agents as an application'
      description: 'Applications that ask the agents which answer everybody alike.'
      allowedMemberTypes: ['Application']
      isEnabled: true
    }
    {
      id: operateRoleId
      value: 'Gateway.Operate'
      displayName: 'Operate the gateway'
      description: 'Sees the details of readiness and ends the sessions of others.'
      allowedMemberTypes: ['User', 'Application']
      isEnabled: true
    }
  ]
  web: {
    redirectUris: redirectUris
    logoutUrl: empty(publicBaseUrl) ? null : '${publicBaseUrl}/api/logout/frontchannel'
    implicitGrantSettings: {
      enableAccessTokenIssuance: false
      enableIdTokenIssuance: false
    }
  }
  spa: {
    redirectUris: spaRedirectUris
  }
  optionalClaims: {
    accessToken: accessTokenClaims
    idToken: idTokenClaims
  }
  requiredResourceAccess: [
    {
      // Power BI Service, of which Fabric is a part: DataAgent.Execute.All
      resourceAppId: '00000009-0000-0000-c000-000000000000'
      resourceAccess: [
        {
          id: 'c6756612-6853-4145-a661-90c1d045b2dc'
          type: 'Scope'
        }
      ]
    }
    {
      // Microsoft Graph: User.Read, openid, profile, offline_access
      resourceAppId: '00000003-0000-0000-c000-000000000000'
      resourceAccess: [
        {
          id: 'e1fe6dd8-ba31-4d61-89e7-88639da4683d'
          type: 'Scope'
        }
        {
          id: '37f7f235-527c-4136-accd-4a02d197296e'
          type: 'Scope'
        }
        {
          id: '14dad69e-099b-42c9-810b-d002981feec1'
          type: 'Scope'
        }
        {
          id: '7427e0e9-2fba-42fe-b0c0-848c9e6a8182'
          type: 'Scope'
        }
      ]
    }
  ]
}

resource servicePrincipal 'Microsoft.Graph/servicePrincipals@v1.0' = {
  appId: application.appId
}

// The managed identity is the credential: there is no secret to keep, to leak or to renew. A wrong subject is accepted
// here, and refused when the gateway asks for its first token.
resource credential 'Microsoft.Graph/applications/federatedIdentityCredentials@v1.0' = if (!empty(identityPrincipalId)) {
  name: '${application.uniqueName}/managed-identity'
  description: 'The managed identity of the gateway'
  issuer: '${environment().authentication.loginEndpoint}${tenant().tenantId}/v2.0'
  subject: identityPrincipalId
  audiences: ['api://AzureADTokenExchange']
}

@description('Application id: clientId of infra/main.bicep.')
output clientId string = application.appId

@description('Object id of the service principal: what roles are given on.')
output servicePrincipalId string = servicePrincipal.id
