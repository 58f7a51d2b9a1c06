// A private endpoint for each service that the app calls in this resource group, and the names that lead there.

@description('What the names end with.')
param name string

@description('Region.')
param location string

@description('Tags.')
param tags object

@description('Resource id of the virtual network.')
param vnetId string

@description('Resource id of the subnet of private endpoints.')
param subnetId string

@description('Resource id of the storage account of the host.')
param hostStorageId string

@description('Resource id of the storage account with what the app keeps.')
param stateStorageId string

@description('Resource id of the vault.')
param vaultId string

var zones = [
  'privatelink.blob.${environment().suffixes.storage}'
  'privatelink.table.${environment().suffixes.storage}'
  'privatelink.queue.${environment().suffixes.storage}'
  'privatelink${replace(environment().suffixes.keyvaultDns, '.vault.', '.vaultcore.')}'
]

// `zone` is the place in the list above.
var endpoints = [
  {
    name: 'host-blob'
    target: hostStorageId
    group: 'blob'
    zone: 0
  }
  {
    name: 'host-table'
    target: hostStorageId
    group: 'table'
    zone: 1
  }
  {
    name: 'state-table'
    target: stateStorageId
    group: 'table'
    zone: 1
  }
  {
    name: 'state-queue'
    target: stateStorageId
    group: 'queue'
    zone: 2
  }
  {
    name: 'vault'
    target: vaultId
    group: 'vault'
    zone: 3
  }
]

resource zone 'Microsoft.Network/privateDnsZones@2024-06-01' = [for zoneName in zones: {
  name: zoneName
  location: 'global'
  tags: tags
}]

resource link 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [for (zoneName, index) in zones: {
  parent: zone[index]
  name: 'vnet'
  location: 'global'
  tags: tags
  properties: {
    registrationEnabled: false
    virtualNetwork: {
      id: vnetId
    }
  }
}]

resource endpoint 'Microsoft.Network/privateEndpoints@2025-05-01' = [for entry in endpoints: {
  name: 'pe-${entry.name}-${name}'
  location: location
  tags: tags
  properties: {
    subnet: {
      id: subnetId
    }
    privateLinkServiceConnections: [
      {
        name: entry.name
        properties: {
          privateLinkServiceId: entry.target
          groupIds: [entry.group]
        }
      }
    ]
  }
}]

resource names 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2025-05-01' = [for (entry, index) in endpoints: {
  parent: endpoint[index]
  name: 'default'
  properties: {
    privateDnsZoneConfigs: [
      {
        name: entry.group
        properties: {
          privateDnsZoneId: zone[entry.zone].id
        }
      }
    ]
  }
}]
