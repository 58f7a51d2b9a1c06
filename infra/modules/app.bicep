// The plan and the function app. Settings are part of the site and not a resource of their own, so that a deployment
// of infrastructure is one rollout and not two that overlap.

@description('Name of the app.')
@maxLength(32)
param name string

@description('Region.')
param location string

@description('Tags.')
param tags object

@description('Resource id of the managed identity.')
param identityId string

@description('Address of the container that packages are deployed to.')
param packageContainerUrl string

@description('Memory of an instance in MB.')
param instanceMemoryMB int

@description('The most instances.')
param maximumInstanceCount int

@description('HTTP requests that one instance is given at once.')
param perInstanceConcurrency int

@description('Instances that wait for HTTP requests.')
param alwaysReadyHttp int

@description('Instances that wait for questions of the queue.')
param alwaysReadyQuestions int

@description('Spread over zones.')
param zoneRedundant bool

@description('Subnet of the instances; empty for none.')
param subnetId string

@description('Id of the Front Door profile that alone may call; empty for everybody.')
param frontDoorId string

@description('Object id of the service principal of the pipeline; empty for none.')
param deployPrincipalId string

@description('Log Analytics workspace.')
param workspaceId string

@description('The app settings: name to text.')
param settings object

// In Flex each timer and each queue trigger scales by itself; only HTTP functions share instances.
var httpReady = {
  name: 'http'
  instanceCount: zoneRedundant && alwaysReadyHttp == 1 ? 2 : alwaysReadyHttp
}
var questionsReady = {
  name: 'function:run_question'
  instanceCount: zoneRedundant && alwaysReadyQuestions == 1 ? 2 : alwaysReadyQuestions
}
var httpReadyList = alwaysReadyHttp > 0 ? [httpReady] : []
var questionsReadyList = alwaysReadyQuestions > 0 ? [questionsReady] : []

var frontDoorAlone = [
  {
    name: 'front-door'
    description: 'Our Front Door profile and nobody else'
    action: 'Allow'
    priority: 100
    tag: 'ServiceTag'
    ipAddress: 'AzureFrontDoor.Backend'
    headers: {
      'x-azure-fdid': [frontDoorId]
    }
  }
]

var websiteContributor = 'de139f84-1756-47ae-9be6-808fbbe84772'

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  name: 'plan-${name}'
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true
    zoneRedundant: zoneRedundant
  }
}

resource site 'Microsoft.Web/sites@2025-03-01' = {
  name: name
  location: location
  // azd finds the app by this tag
  tags: union(tags, {
    'azd-service-name': 'api'
  })
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    clientAffinityEnabled: false
    publicNetworkAccess: 'Enabled'
    keyVaultReferenceIdentity: identityId
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    // /admin is closed, even to the master key. The published types do not have this property yet.
    #disable-next-line BCP037
    functionsRuntimeAdminIsolationEnabled: true
    siteConfig: {
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      http20Enabled: true
      ipSecurityRestrictionsDefaultAction: empty(frontDoorId) ? 'Allow' : 'Deny'
      ipSecurityRestrictions: empty(frontDoorId) ? [] : frontDoorAlone
      scmIpSecurityRestrictionsDefaultAction: 'Allow'
      scmIpSecurityRestrictionsUseMain: false
      appSettings: [for setting in items(settings): {
        name: setting.key
        value: setting.value
      }]
    }
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: packageContainerUrl
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityId
          }
        }
      }
      runtime: {
        name: 'python'
        version: '3.13'
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: maximumInstanceCount
        alwaysReady: concat(httpReadyList, questionsReadyList)
        triggers: {
          http: {
            perInstanceConcurrency: perInstanceConcurrency
          }
        }
      }
      // Instances finish what they have before they go; the other way cuts every question that is under way.
      #disable-next-line BCP037
      siteUpdateStrategy: {
        type: 'RollingUpdate'
      }
    }
  }
}

resource noFtpPasswords 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: site
  name: 'ftp'
  properties: {
    allow: false
  }
}

resource noScmPasswords 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: site
  name: 'scm'
  properties: {
    allow: false
  }
}

resource pipelineRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(deployPrincipalId)) {
  name: guid(site.id, deployPrincipalId, websiteContributor)
  scope: site
  properties: {
    principalId: deployPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', websiteContributor)
  }
}

// The same lines as in AppTraces, on a way that works when Application Insights does not.
resource logs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'logs'
  scope: site
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'FunctionAppLogs'
        enabled: true
      }
    ]
    metrics: [
      {
        category: 'AllMetrics'
        enabled: true
      }
    ]
  }
}

@description('Name of the app.')
output name string = site.name

@description('Host name that Azure gave it.')
output hostName string = site.properties.defaultHostName
