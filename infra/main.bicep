// The gateway in one resource group: one deployment of this file is one environment.
// What belongs together is written once here: the settings of the app come from the same parameters as the plan.

targetScope = 'resourceGroup'

// The settings that have a default in the app (docs/settings.md). Names that are not listed here are refused by the
// compiler; an empty text counts as not set. Whatever the template knows by itself is not among them. A header of OTLP
// with a key in it is a secret: put it into the vault, and give '@Microsoft.KeyVault(SecretUri=…)' here.
type optionalSettings = {
  ALLOWED_ORIGINS: string?
  ALLOWED_TENANTS: string?
  ALLOWED_CLIENTS: string?
  REQUIRED_SCOPE: string?
  REQUIRED_ROLE: string?
  GUESTS: string?
  ENTRA_AUTHORITY_HOST: string?
  FABRIC_SCOPE: string?
  GRAPH_URL: string?
  SESSION_IDLE_MINUTES: string?
  SESSION_ABSOLUTE_MINUTES: string?
  QUERY_DEADLINE_SECONDS: string?
  LIMIT_PER_MINUTE: string?
  LIMIT_BURST: string?
  LIMIT_PER_DAY: string?
  LIMIT_IN_FLIGHT: string?
  APP_CALLS_PER_MINUTE: string?
  FAILURES_PER_MINUTE: string?
  ANSWER_CACHE_SECONDS: string?
  ANSWER_STALE_SECONDS: string?
  LINK_HOSTS: string?
  LOG_LEVEL: string?
  OTEL_EXPORTER_OTLP_ENDPOINT: string?
  OTEL_EXPORTER_OTLP_HEADERS: string?
  OTEL_SERVICE_NAME: string?
  OTEL_TRACES_SAMPLER_ARG: string?
  OTEL_METRIC_EXPORT_INTERVAL: string?
}

@description('Which environment this is. The app is stricter outside development.')
@allowed(['development', 'staging', 'production'])
param environmentName string

@description('Region of everything; one that has Flex Consumption.')
param location string = resourceGroup().location

@description('What the names of the resources begin with.')
@minLength(3)
@maxLength(15)
param name string = 'fabric-gateway'

@description('Tags of every resource.')
param tags object = {}

@description('The Entra tenant whose people sign in.')
@minLength(36)
@maxLength(36)
param tenantId string = tenant().tenantId

@description('Application id of the app registration of the gateway: infra/entra makes one.')
@minLength(36)
@maxLength(36)
param clientId string

@description('How the gateway proves itself to Entra. A certificate or a secret has to be in the vault.')
@allowed(['managed-identity', 'certificate', 'secret'])
param clientCredential string = 'managed-identity'

@description('The data agents, as DATA_AGENTS takes them: name to url, description, identity and so on.')
param dataAgents object = {}

@description('The address of a single data agent, instead of dataAgents.')
param dataAgentUrl string = ''

@description('Where people reach the gateway, such as https://ask.contoso.com. Empty: the own name of the app.')
param publicBaseUrl string = ''

@description('Whether browsers may sign in for a session. On names of Azure Front Door they never may.')
param sessions bool = true

@description('Id of the Front Door profile that stands before the app. Then nothing else may call it.')
param frontDoorId string = ''

@description('The settings that have a default in the app.')
param settings optionalSettings = {}

@description('Memory of an instance in MB: 2048 has one core.')
@allowed([512, 2048, 4096])
param instanceMemoryMB int = 2048

@description('The most instances that the app is scaled to, without those that are always ready.')
@minValue(1)
@maxValue(900)
param maximumInstanceCount int = 40

@description('HTTP requests that one instance is given at once. Python would have 1.')
@minValue(1)
@maxValue(1000)
param perInstanceConcurrency int = 32

@description('Instances that wait for HTTP requests, so that nobody meets a cold start. They are paid for.')
@minValue(0)
@maxValue(50)
param alwaysReadyHttp int = 0

@description('Instances that wait for questions of the queue.')
@minValue(0)
@maxValue(50)
param alwaysReadyQuestions int = 0

@description('Spreads instances over zones. Every always-ready group then has two instances at least.')
param zoneRedundant bool = false

@description('Redundancy of both storage accounts; over zones where zoneRedundant is true.')
@allowed(['Standard_LRS', 'Standard_ZRS', 'Standard_GZRS'])
param storageSku string = 'Standard_ZRS'

@description('Storage and vault in a virtual network only.')
param vnetEnabled bool = false

@description('Addresses of the virtual network: a /24 for instances and a /27 for private endpoints are taken of it.')
param vnetAddressPrefix string = '10.60.0.0/16'

@description('With vnetEnabled: addresses (CIDR) from which operators still reach the vault.')
param vaultAddresses array = []

@description('Nobody can delete the vault for good within 90 days. It cannot be taken back once it is on.')
param purgeProtection bool = true

@description('Locks against deletion: storage, vault, identity and logs.')
param deleteLocks bool = false

@description('Object id of the group whose people make and rotate the keys in the vault.')
param operatorsGroupId string = ''

@description('Object id of the service principal that the pipeline deploys the app with.')
param deployPrincipalId string = ''

@description('Days that logs are kept.')
@minValue(30)
@maxValue(730)
param logRetentionDays int = 90

@description('The most GB of logs a day; -1 for no end. Past it the alerts see nothing, so one tells of that.')
@minValue(-1)
param logDailyCapGb int = -1

@description('Who is told of alerts.')
param alertEmails array = []

@description('Whether the alerts are on.')
param alertsEnabled bool = true

@description('How long questions may be asked without a single answer before somebody is told.')
@allowed(['PT15M', 'PT30M', 'PT1H', 'PT2H'])
param noAnswersWindow string = 'PT30M'

@description('Whether the gateway is called from outside every five minutes, from five places.')
param availabilityTest bool = true

@description('What may be spent in a month, in the currency of the subscription; 0 for no budget.')
@minValue(0)
param budgetAmount int = 0

@description('First day of a month, such as 2026-12-01, on which the budget begins. It cannot change later.')
param budgetStart string = ''

var shortNames = {
  development: 'dev'
  staging: 'stg'
  production: 'prod'
}
var unique = uniqueString(resourceGroup().id, name, environmentName)
// 32 letters at most: past them two apps could share a host id, and with it the locks of their timers.
var appName = '${name}-${shortNames[environmentName]}-${take(unique, 6)}'
var ownDomain = environment().name == 'AzureUSGovernment' ? 'azurewebsites.us' : 'azurewebsites.net'
var baseUrl = empty(publicBaseUrl) ? 'https://${appName}.${ownDomain}' : publicBaseUrl
// Browsers take all of a Front Door domain for one site, with the names of strangers: the app would refuse to start.
var sessionsOn = sessions && !endsWith(toLower(baseUrl), '.azurefd.net')
var allTags = union(tags, {
  application: name
  environment: environmentName
})
var packageContainer = 'app-package'

// The tables and queues of the app (lib/gateway.py, lib/answers/by_queue.py). It would make them by itself: here they
// are made before the first request, and before the first alert asks for them.
var tables = [
  'sessions'
  'sids'
  'flows'
  'principals'
  'answers'
  'agents'
  'operations'
  'conversations'
  'idempotency'
  'timers'
]
var queues = [
  'questions'
  'questions-poison'
]

module identity 'modules/identity.bicep' = {
  name: 'identity'
  params: {
    name: 'id-${appName}'
    location: location
    tags: allTags
    deleteLock: deleteLocks
  }
}

module monitoring 'modules/monitoring.bicep' = {
  name: 'monitoring'
  params: {
    name: appName
    location: location
    tags: allTags
    retentionDays: logRetentionDays
    dailyCapGb: logDailyCapGb
    deleteLock: deleteLocks
  }
}

module network 'modules/network.bicep' = if (vnetEnabled) {
  name: 'network'
  params: {
    name: 'vnet-${appName}'
    location: location
    tags: allTags
    addressPrefix: vnetAddressPrefix
  }
}

// What the host needs: packages, leases of timers, keys of functions. It can be lost, for a deployment brings it back.
module hostStorage 'modules/storage.bicep' = {
  name: 'host-storage'
  params: {
    name: 'host${unique}'
    location: location
    tags: allTags
    skuName: storageSku
    containers: [packageContainer]
    closed: vnetEnabled
    workspaceId: monitoring.outputs.workspaceId
    deleteLock: deleteLocks
  }
}

// What the app keeps. It is another account, so that neither its load nor its roles are those of the host.
module stateStorage 'modules/storage.bicep' = {
  name: 'state-storage'
  params: {
    name: 'state${unique}'
    location: location
    tags: allTags
    skuName: storageSku
    tables: tables
    queues: queues
    closed: vnetEnabled
    workspaceId: monitoring.outputs.workspaceId
    deleteLock: deleteLocks
  }
}

module vault 'modules/vault.bicep' = {
  name: 'vault'
  params: {
    name: 'kv-${unique}'
    location: location
    tags: allTags
    purgeProtection: purgeProtection
    closed: vnetEnabled
    allowedAddresses: vaultAddresses
    workspaceId: monitoring.outputs.workspaceId
    deleteLock: deleteLocks
  }
}

module privateEndpoints 'modules/private-endpoints.bicep' = if (vnetEnabled) {
  name: 'private-endpoints'
  params: {
    name: appName
    location: location
    tags: allTags
    vnetId: vnetEnabled ? network!.outputs.vnetId : ''
    subnetId: vnetEnabled ? network!.outputs.endpointSubnetId : ''
    hostStorageId: hostStorage.outputs.id
    stateStorageId: stateStorage.outputs.id
    vaultId: vault.outputs.id
  }
}

module roles 'modules/roles.bicep' = {
  name: 'roles'
  params: {
    principalId: identity.outputs.principalId
    hostStorageName: hostStorage.outputs.name
    stateStorageName: stateStorage.outputs.name
    vaultName: vault.outputs.name
    insightsName: monitoring.outputs.insightsName
    operatorsGroupId: operatorsGroupId
  }
}

module app 'modules/app.bicep' = {
  name: 'app'
  params: {
    name: appName
    location: location
    tags: allTags
    identityId: identity.outputs.id
    packageContainerUrl: '${hostStorage.outputs.blobUrl}${packageContainer}'
    instanceMemoryMB: instanceMemoryMB
    maximumInstanceCount: maximumInstanceCount
    perInstanceConcurrency: perInstanceConcurrency
    alwaysReadyHttp: alwaysReadyHttp
    alwaysReadyQuestions: alwaysReadyQuestions
    zoneRedundant: zoneRedundant
    subnetId: vnetEnabled ? network!.outputs.instanceSubnetId : ''
    frontDoorId: frontDoorId
    deployPrincipalId: deployPrincipalId
    workspaceId: monitoring.outputs.workspaceId
    settings: union(settings, {
      // the host's own
      AzureWebJobsStorage__accountName: hostStorage.outputs.name
      AzureWebJobsStorage__credential: 'managedidentity'
      AzureWebJobsStorage__clientId: identity.outputs.clientId
      APPLICATIONINSIGHTS_CONNECTION_STRING: monitoring.outputs.connectionString
      APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identity.outputs.clientId};Authorization=AAD'
      // the gateway takes 32 KiB; the host would receive 100 MB before it asks
      FUNCTIONS_REQUEST_BODY_SIZE_LIMIT: '65536'
      // the gateway's
      ENVIRONMENT: environmentName
      TENANT_ID: tenantId
      CLIENT_ID: clientId
      CLIENT_CREDENTIAL: clientCredential
      AZURE_CLIENT_ID: identity.outputs.clientId
      DATA_AGENTS: empty(dataAgents) ? '' : string(dataAgents)
      DATA_AGENT_URL: dataAgentUrl
      KEY_VAULT_URL: vault.outputs.url
      STATE_STORAGE__tableServiceUri: stateStorage.outputs.tableUrl
      STATE_STORAGE__queueServiceUri: stateStorage.outputs.queueUrl
      STATE_STORAGE__credential: 'managedidentity'
      STATE_STORAGE__clientId: identity.outputs.clientId
      PUBLIC_BASE_URL: baseUrl
      SESSIONS: sessionsOn ? 'on' : 'off'
      FRONT_DOOR_ID: frontDoorId
      // While Table Storage is away each instance takes this part of every limit: count all that may serve HTTP.
      // Instances of the queue take none, for without tables no question can be claimed there.
      MAX_INSTANCES: string(maximumInstanceCount + (zoneRedundant && alwaysReadyHttp == 1 ? 2 : alwaysReadyHttp))
      INSTANCE_CONCURRENCY: string(perInstanceConcurrency)
    })
  }
  // The host reaches for its storage as soon as it starts: its roles, and the way there, have to be there before.
  dependsOn: [
    roles
    privateEndpoints
  ]
}

module actions 'modules/actions.bicep' = {
  name: 'actions'
  params: {
    name: 'ag-${appName}'
    tags: allTags
    emails: alertEmails
    enabled: alertsEnabled
  }
}

module alerts 'modules/alerts.bicep' = {
  name: 'alerts'
  params: {
    name: appName
    location: location
    tags: allTags
    workspaceId: monitoring.outputs.workspaceId
    actionGroupId: actions.outputs.id
    enabled: alertsEnabled
    noAnswersWindow: noAnswersWindow
  }
  // StorageQueueLogs is there once the first storage account writes to the workspace.
  dependsOn: [
    stateStorage
  ]
}

module availability 'modules/availability.bicep' = if (availabilityTest) {
  name: 'availability'
  params: {
    name: appName
    location: location
    tags: allTags
    insightsId: monitoring.outputs.insightsId
    actionGroupId: actions.outputs.id
    url: '${baseUrl}/api/health'
    enabled: alertsEnabled
  }
}

module workbook 'modules/workbook.bicep' = {
  name: 'workbook'
  params: {
    displayName: 'Gateway ${environmentName}'
    location: location
    tags: allTags
    workspaceId: monitoring.outputs.workspaceId
  }
}

module budget 'modules/budget.bicep' = if (budgetAmount > 0) {
  name: 'budget'
  params: {
    name: 'budget-${appName}'
    amount: budgetAmount
    startDate: budgetStart
    actionGroupId: actions.outputs.id
  }
}

@description('Name of the function app: what the pipeline deploys to.')
output appName string = app.outputs.name

@description('Host name that Azure gave the app.')
output hostName string = app.outputs.hostName

@description('Where people reach the gateway.')
output publicBaseUrl string = baseUrl

@description('The address that Entra sends people back to: a redirect URI of the app registration.')
output redirectUri string = '${baseUrl}/api/login/callback'

@description('Name of the vault: create-keys.sh wants it.')
output vaultName string = vault.outputs.name

@description('Client id of the managed identity.')
output identityClientId string = identity.outputs.clientId

@description('Object id of the managed identity: the subject of the federated credential.')
output identityPrincipalId string = identity.outputs.principalId

@description('Storage account of the host, with the packages.')
output hostStorageName string = hostStorage.outputs.name

@description('Storage account with what the app keeps.')
output stateStorageName string = stateStorage.outputs.name

@description('Container that packages are deployed to.')
output packageContainer string = packageContainer

@description('Log Analytics workspace.')
output workspaceId string = monitoring.outputs.workspaceId
