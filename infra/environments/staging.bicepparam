using '../main.bicep'

// What differs from company to company comes from the environment: of the pipeline, or of whoever deploys.
param environmentName = 'staging'
param clientId = readEnvironmentVariable('GATEWAY_CLIENT_ID')
param dataAgents = json(readEnvironmentVariable('DATA_AGENTS', '{}'))
param dataAgentUrl = readEnvironmentVariable('DATA_AGENT_URL', '')
param publicBaseUrl = readEnvironmentVariable('PUBLIC_BASE_URL', '')
param frontDoorId = readEnvironmentVariable('FRONT_DOOR_ID', '')
param operatorsGroupId = readEnvironmentVariable('OPERATORS_GROUP_ID', '')
param deployPrincipalId = readEnvironmentVariable('DEPLOY_PRINCIPAL_ID', '')
param alertEmails = json(readEnvironmentVariable('ALERT_EMAILS', '[]'))
param budgetAmount = int(readEnvironmentVariable('BUDGET_AMOUNT', '0'))
param budgetStart = readEnvironmentVariable('BUDGET_START', '')
param vnetEnabled = bool(readEnvironmentVariable('VNET_ENABLED', 'false'))
param vaultAddresses = json(readEnvironmentVariable('VAULT_ADDRESSES', '[]'))
param settings = {
  ALLOWED_ORIGINS: readEnvironmentVariable('ALLOWED_ORIGINS', '')
  ALLOWED_TENANTS: readEnvironmentVariable('ALLOWED_TENANTS', '')
  ALLOWED_CLIENTS: readEnvironmentVariable('ALLOWED_CLIENTS', '')
  LINK_HOSTS: readEnvironmentVariable('LINK_HOSTS', '')
}

// As production in kind, smaller in number: nothing waits, so that the first request shows a cold start.
param maximumInstanceCount = 10
param alwaysReadyHttp = 0
param alwaysReadyQuestions = 0
param storageSku = 'Standard_LRS'
param zoneRedundant = false
param purgeProtection = true
param deleteLocks = false
param logRetentionDays = 30
param alertsEnabled = true
param availabilityTest = false
