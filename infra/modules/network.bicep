// The virtual network: one subnet for the instances, one for private endpoints.

@description('Name of the network.')
param name string

@description('Region.')
param location string

@description('Tags.')
param tags object

@description('Addresses of the network, /23 or larger.')
param addressPrefix string

resource closedToInternet 'Microsoft.Network/networkSecurityGroups@2025-05-01' = {
  name: 'nsg-${name}'
  location: location
  tags: tags
  properties: {
    securityRules: [
      {
        name: 'nothing-from-the-internet'
        properties: {
          access: 'Deny'
          direction: 'Inbound'
          priority: 4000
          protocol: '*'
          sourceAddressPrefix: 'Internet'
          sourcePortRange: '*'
          destinationAddressPrefix: '*'
          destinationPortRange: '*'
        }
      }
    ]
  }
}

resource vnet 'Microsoft.Network/virtualNetworks@2025-05-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    addressSpace: {
      addressPrefixes: [addressPrefix]
    }
    subnets: [
      {
        name: 'instances'
        properties: {
          addressPrefix: cidrSubnet(addressPrefix, 24, 0)
          networkSecurityGroup: {
            id: closedToInternet.id
          }
          delegations: [
            {
              name: 'flex-consumption'
              properties: {
                serviceName: 'Microsoft.App/environments'
              }
            }
          ]
        }
      }
      {
        name: 'endpoints'
        properties: {
          addressPrefix: cidrSubnet(addressPrefix, 27, 8)
          privateEndpointNetworkPolicies: 'Disabled'
          networkSecurityGroup: {
            id: closedToInternet.id
          }
        }
      }
    ]
  }
}

@description('Resource id of the network.')
output vnetId string = vnet.id

@description('Resource id of the subnet of the instances.')
output instanceSubnetId string = '${vnet.id}/subnets/instances'

@description('Resource id of the subnet of private endpoints.')
output endpointSubnetId string = '${vnet.id}/subnets/endpoints'
