// One row for each alert; what it looks for is in ../queries/<name>.kql. An alert fires where its query finds more rows
// than `rows` within `window`. The section of docs/operations.md that it names tells what to do.

@description('What the names end with.')
param name string

@description('Region of the workspace.')
param location string

@description('Tags.')
param tags object

@description('Resource id of the Log Analytics workspace.')
param workspaceId string

@description('Resource id of the action group.')
param actionGroupId string

@description('Whether the alerts are on.')
param enabled bool

@description('How long questions may be asked without a single answer.')
param noAnswersWindow string

// Severity: 0 nobody is served, 1 many are not, 2 it works but not as it should, 3 to be looked at in time.
// What nobody is woken for is looked for every quarter of an hour: a rule costs a third then.
var rules = [
  {
    name: 'settings-wrong'
    title: 'The settings are refused'
    severity: 0
    query: loadTextContent('../queries/settings-wrong.kql')
    every: 'PT5M'
    window: 'PT15M'
    rows: 0
  }
  {
    name: 'error-ratio'
    title: 'More than 5 % of requests fail'
    severity: 1
    query: loadTextContent('../queries/error-ratio.kql')
    every: 'PT5M'
    window: 'PT15M'
    rows: 0
  }
  {
    name: 'no-answers'
    title: 'Questions are asked, none is answered'
    severity: 1
    query: loadTextContent('../queries/no-answers.kql')
    every: 'PT5M'
    window: noAnswersWindow
    rows: 0
  }
  {
    name: 'circuit-open'
    title: 'An agent or Entra is left alone'
    severity: 1
    query: loadTextContent('../queries/circuit-open.kql')
    every: 'PT5M'
    window: 'PT10M'
    rows: 0
  }
  {
    name: 'storage-unavailable'
    title: 'Storage or vault cannot be reached'
    severity: 1
    query: loadTextContent('../queries/storage-unavailable.kql')
    every: 'PT5M'
    window: 'PT10M'
    rows: 5
  }
  {
    name: 'credential-trouble'
    title: 'A key or credential does not work'
    severity: 1
    query: loadTextContent('../queries/credential-trouble.kql')
    every: 'PT5M'
    window: 'PT30M'
    rows: 2
  }
  {
    name: 'limits-degraded'
    title: 'Limits are kept by each instance alone'
    severity: 2
    query: loadTextContent('../queries/limits-degraded.kql')
    every: 'PT15M'
    window: 'PT15M'
    rows: 0
  }
  {
    name: 'upstream-throttled'
    title: 'Fabric or Entra slows us down'
    severity: 2
    query: loadTextContent('../queries/upstream-throttled.kql')
    every: 'PT15M'
    window: 'PT15M'
    rows: 10
  }
  {
    name: 'runs-failing'
    title: 'Timers or questions of the queue fail'
    severity: 2
    query: loadTextContent('../queries/runs-failing.kql')
    every: 'PT15M'
    window: 'PT30M'
    rows: 2
  }
  {
    name: 'poisoned-questions'
    title: 'Questions of the queue were given up'
    severity: 2
    query: loadTextContent('../queries/poisoned-questions.kql')
    every: 'PT15M'
    window: 'PT30M'
    rows: 0
  }
  {
    name: 'slow-kept-answers'
    title: 'Kept answers take more than a second'
    severity: 2
    query: loadTextContent('../queries/slow-kept-answers.kql')
    every: 'PT15M'
    window: 'PT30M'
    rows: 0
  }
  {
    name: 'logs-capped'
    title: 'The logs of the day are full'
    severity: 2
    query: loadTextContent('../queries/logs-capped.kql')
    every: 'PT15M'
    window: 'PT30M'
    rows: 0
  }
  {
    name: 'slow-agents'
    title: 'Agents take more than two minutes'
    severity: 3
    query: loadTextContent('../queries/slow-agents.kql')
    every: 'PT15M'
    window: 'PT1H'
    rows: 0
  }
  {
    name: 'sign-ins-failing'
    title: 'Many sign-ins fail'
    severity: 3
    query: loadTextContent('../queries/sign-ins-failing.kql')
    every: 'PT15M'
    window: 'PT30M'
    rows: 20
  }
]

resource alert 'Microsoft.Insights/scheduledQueryRules@2025-01-01-preview' = [for rule in rules: {
  name: '${rule.name}-${name}'
  location: location
  tags: tags
  kind: 'LogAlert'
  properties: {
    displayName: '${rule.title} (${name})'
    description: 'See docs/operations.md#alert-${rule.name}'
    severity: rule.severity
    enabled: enabled
    autoMitigate: true
    scopes: [workspaceId]
    evaluationFrequency: rule.every
    windowSize: rule.window
    // in a workspace that has not seen a line yet the tables may not be there
    skipQueryValidation: true
    criteria: {
      allOf: [
        {
          query: rule.query
          timeAggregation: 'Count'
          operator: 'GreaterThan'
          threshold: rule.rows
          failingPeriods: {
            numberOfEvaluationPeriods: 1
            minFailingPeriodsToAlert: 1
          }
        }
      ]
    }
    actions: {
      actionGroups: [actionGroupId]
    }
  }
}]

// Incidents of Azure itself, in this subscription.
resource serviceHealth 'Microsoft.Insights/activityLogAlerts@2020-10-01' = {
  name: 'service-health-${name}'
  location: 'global'
  tags: tags
  properties: {
    description: 'Azure has an incident in this subscription. See docs/operations.md#alert-service-health'
    enabled: enabled
    scopes: [subscription().id]
    condition: {
      allOf: [
        {
          field: 'category'
          equals: 'ServiceHealth'
        }
        {
          field: 'properties.incidentType'
          equals: 'Incident'
        }
      ]
    }
    actions: {
      actionGroups: [
        {
          actionGroupId: actionGroupId
        }
      ]
    }
  }
}
