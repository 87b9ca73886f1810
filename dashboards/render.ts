import {
  AnnotationQueryBuilder,
  DashboardBuilder,
  DashboardCursorSync,
  DashboardLinkBuilder,
  DashboardLinkType,
  type Dashboard as GrafanaDashboard,
  RowBuilder,
} from '@grafana/grafana-foundation-sdk/dashboard'
import { grafanaPanel, gridOf } from './grafana-panel.ts'
import { laidOut } from './layout.ts'
import type { Dashboard } from './panel.ts'
import { DATA_SOURCE, variablesOf } from './variables.ts'

/** By which dashboards find each other. */
const TAG = 'helixflow'

/** A dashboard as Grafana reads it. */
export function rendered(dashboard: Dashboard): GrafanaDashboard {
  const builder = new DashboardBuilder(dashboard.title)
    .uid(dashboard.uid)
    .description(dashboard.description)
    .tags([TAG])
    .readonly()
    .tooltip(DashboardCursorSync.Crosshair)
    .time({ from: 'now-3h', to: 'now' })
    .refresh('30s')
    .link(otherDashboards())
    .annotation(firingAlerts())
    .variables(variablesOf(dashboard))
  for (const { section, place, panels } of laidOut(dashboard)) {
    builder.withRow(new RowBuilder(section.title).id(place.id).gridPos(gridOf(place)).collapsed(false))
    for (const placed of panels) builder.withPanel(grafanaPanel(placed, dashboard.variables))
  }
  return builder.build()
}

/** What `deploy/grafana/dashboards` holds: the same for the same code. */
export function textOf(dashboard: Dashboard): string {
  return `${JSON.stringify(rendered(dashboard), withoutPlacement, 2)}\n`
}

/** The builders put every link and annotation into a menu, where nobody would find them, and offer no way out. */
function withoutPlacement(_key: string, value: unknown): unknown {
  return value === 'inControlsMenu' ? undefined : value
}

function otherDashboards(): DashboardLinkBuilder {
  return new DashboardLinkBuilder('HelixFlow')
    .type(DashboardLinkType.Dashboards)
    .tags([TAG])
    .asDropdown(true)
    .includeVars(true)
    .keepTime(true)
}

/** Where Prometheus has our rules, it has their alerts as series. */
function firingAlerts(): AnnotationQueryBuilder {
  return new AnnotationQueryBuilder()
    .name('Alerts')
    .datasource(DATA_SOURCE)
    .enable(true)
    .iconColor('red')
    .expr(ALERTS)
    .step('30s')
    .titleFormat('{{alertname}}')
    .textFormat('{{severity}}')
}

/** Of one that fires at several places one mark. */
export const ALERTS = 'max by (alertname, severity) (ALERTS{alertstate="firing"})'
