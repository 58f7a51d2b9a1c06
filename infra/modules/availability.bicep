// The gateway seen from outside. /api/health does no I/O: it tells that Azure lets people through to an instance.

@description('What the names end with.')
param name string

@description('Region of Application Insights.')
param location string

@description('Tags.')
param tags object

@description('Resource id of Application Insights.')
param insightsId string

@description('Resource id of the action group.')
param actionGroupId string

@description('What is called.')
param url string

@description('Whether anybody is told.')
param enabled bool

resource test 'Microsoft.Insights/webtests@2022-06-15' = {
  name: 'health-${name}'
  location: location
  // the portal and the alert find the test by this tag
  tags: union(tags, {
    'hidden-link:${insightsId}': 'Resource'
  })
  kind: 'standard'
  properties: {
    Name: 'health-${name}'
    SyntheticMonitorId: 'health-${name}'
    Description: 'Whether the gateway answers'
    Kind: 'standard'
    Enabled: true
    Frequency: 300
    // an app without always-ready instances has to start first
    Timeout: 60
    RetryEnabled: true
    Locations: [
      {
        Id: 'emea-nl-ams-azr'
      }
      {
        Id: 'emea-gb-db3-azr'
      }
      {
        Id: 'us-va-ash-azr'
      }
      {
        Id: 'us-il-ch1-azr'
      }
      {
        Id: 'apac-sg-sin-azr'
      }
    ]
    Request: {
      RequestUrl: url
      HttpVerb: 'GET'
      ParseDependentRequests: false
      FollowRedirects: false
    }
    ValidationRules: {
      ExpectedHttpStatusCode: 200
      SSLCheck: true
      SSLCertRemainingLifetimeCheck: 14
    }
  }
}

resource alert 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: 'unavailable-${name}'
  location: 'global'
  tags: tags
  properties: {
    description: 'The gateway does not answer from three of five places, or its certificate ends soon. See docs/operations.md#alert-unavailable'
    severity: 0
    enabled: enabled
    autoMitigate: true
    scopes: [
      test.id
      insightsId
    ]
    evaluationFrequency: 'PT1M'
    windowSize: 'PT15M'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.WebtestLocationAvailabilityCriteria'
      webTestId: test.id
      componentId: insightsId
      failedLocationCount: 3
    }
    actions: [
      {
        actionGroupId: actionGroupId
      }
    ]
  }
}
