// Whom the alerts tell.

@description('Name of the action group.')
param name string

@description('Tags.')
param tags object

@description('Addresses of mail.')
param emails array

@description('Whether anybody is told.')
param enabled bool

resource group 'Microsoft.Insights/actionGroups@2024-10-01-preview' = {
  name: name
  location: 'global'
  tags: tags
  properties: {
    enabled: enabled
    groupShortName: 'gateway'
    emailReceivers: [for (email, index) in emails: {
      name: 'mail-${index}'
      emailAddress: email
      useCommonAlertSchema: true
    }]
  }
}

@description('Resource id.')
output id string = group.id
