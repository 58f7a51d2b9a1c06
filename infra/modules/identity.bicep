// The user-assigned identity of the gateway. It outlives the app, so that its roles are there before the first start,
// and Entra trusts it as the credential of the app registration.

@description('Name of the identity.')
param name string

@description('Region.')
param location string

@description('Tags.')
param tags object

@description('Locked against deletion: an identity that is made anew has another id, and Entra does not know it.')
param deleteLock bool

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: name
  location: location
  tags: tags
}

resource lock 'Microsoft.Authorization/locks@2020-05-01' = if (deleteLock) {
  name: 'keep'
  scope: identity
  properties: {
    level: 'CanNotDelete'
    notes: 'Its roles, and the trust that Entra has in it, belong to this very identity.'
  }
}

@description('Resource id.')
output id string = identity.id

@description('Client id.')
output clientId string = identity.properties.clientId

@description('Object id of its service principal.')
output principalId string = identity.properties.principalId
