import * as bars from '@grafana/grafana-foundation-sdk/bargauge'
import type { Builder } from '@grafana/grafana-foundation-sdk/cog'
import * as common from '@grafana/grafana-foundation-sdk/common'
import * as grafana from '@grafana/grafana-foundation-sdk/dashboard'
import * as gauges from '@grafana/grafana-foundation-sdk/gauge'
import * as prometheus from '@grafana/grafana-foundation-sdk/prometheus'
import * as stat from '@grafana/grafana-foundation-sdk/stat'
import * as states from '@grafana/grafana-foundation-sdk/statetimeline'
import * as table from '@grafana/grafana-foundation-sdk/table'
import * as lines from '@grafana/grafana-foundation-sdk/timeseries'
import { alertsAbout } from './alerts-about.ts'
import type { Place, PlacedPanel } from './layout.ts'
import type { Look, Panel, Threshold, Variable, Word } from './panel.ts'
import { DATA_SOURCE, expressionOf } from './variables.ts'

/** What builders of all kinds of panels have in common. */
interface PanelBuilder extends Builder<grafana.Panel> {
  id(id: number): this
  title(title: string): this
  description(description: string): this
  datasource(datasource: common.DataSourceRef): this
  gridPos(place: grafana.GridPos): this
  links(links: Builder<grafana.DashboardLink>[]): this
  unit(unit: string): this
  decimals(decimals: number): this
  min(min: number): this
  max(max: number): this
  noValue(text: string): this
  mappings(mappings: grafana.ValueMapping[]): this
  thresholds(thresholds: Builder<grafana.ThresholdsConfig>): this
  withTarget(target: Builder<prometheus.Dataquery>): this
}

const LOOKS: Readonly<Record<Look, (panel: Panel) => PanelBuilder>> = {
  lines: linesOf,
  stack: stackOf,
  number: numberOf,
  gauge: gaugeOf,
  bars: barsOf,
  states: statesOf,
  table: tableOf,
}

/** A panel as Grafana has it. */
export function grafanaPanel({ panel, place }: PlacedPanel, variables: readonly Variable[]): PanelBuilder {
  const built = LOOKS[panel.look](panel)
    .id(place.id)
    .title(panel.title)
    .description(panel.description)
    .datasource(DATA_SOURCE)
    .gridPos(gridOf(place))
    .unit(panel.unit)
    .thresholds(thresholdsOf(panel.thresholds ?? [{ from: null, colour: 'green' }]))
  if (panel.decimals !== undefined) built.decimals(panel.decimals)
  if (panel.min !== undefined) built.min(panel.min)
  if (panel.max !== undefined) built.max(panel.max)
  if (panel.empty !== undefined) built.noValue(panel.empty)
  if (panel.words) built.mappings([mappingOf(panel.words)])
  const alerts = alertsAbout(panel)
  if (alerts.length > 0) built.links(alerts.map(runbookLink))
  for (const target of targetsOf(panel, variables)) built.withTarget(target)
  return built
}

export function gridOf({ x, y, w, h }: Place): grafana.GridPos {
  return { x, y, w, h }
}

function targetsOf(
  { series, look, whole }: Panel,
  variables: readonly Variable[],
): prometheus.DataqueryBuilder[] {
  return series.map(({ query, legend }, index) => {
    const target = new prometheus.DataqueryBuilder()
      .refId(String.fromCharCode(65 + index))
      .datasource(DATA_SOURCE)
      .expr(expressionOf(query, whole ? [] : variables))
      .legendFormat(legend)
    if (look === 'table') return target.instant().format(prometheus.PromQueryFormat.Table)
    return look === 'bars' ? target.instant() : target.range()
  })
}

function runbookLink(alert: string): grafana.DashboardLinkBuilder {
  return new grafana.DashboardLinkBuilder(`Runbook of ${alert}`)
    .type(grafana.DashboardLinkType.Link)
    .url(`\${runbooks:raw}/${alert}.md`)
    .targetBlank(true)
}

function thresholdsOf(thresholds: readonly Threshold[]): grafana.ThresholdsConfigBuilder {
  return new grafana.ThresholdsConfigBuilder()
    .mode(grafana.ThresholdsMode.Absolute)
    .steps(thresholds.map(({ from, colour }) => ({ value: from, color: colour })))
}

function mappingOf(words: readonly Word[]): grafana.ValueMapping {
  const options = words.map(({ value, text, colour }, index) => [
    String(value),
    { text, color: colour, index },
  ])
  return { type: grafana.MappingType.ValueToText, options: Object.fromEntries(options) }
}

function linesOf({ thresholds, series }: Panel): lines.PanelBuilder {
  const style = thresholds ? common.GraphThresholdsStyleMode.Dashed : common.GraphThresholdsStyleMode.Off
  return new lines.PanelBuilder()
    .lineWidth(1)
    .fillOpacity(series.length > 1 ? 0 : 10)
    .showPoints(common.VisibilityMode.Never)
    .thresholdsStyle(new common.GraphThresholdsStyleConfigBuilder().mode(style))
    .legend(legend())
    .tooltip(tooltip())
}

function stackOf(panel: Panel): lines.PanelBuilder {
  return linesOf(panel)
    .fillOpacity(30)
    .stacking(new common.StackingConfigBuilder().mode(common.StackingMode.Normal).group('A'))
}

function numberOf({ words, thresholds }: Panel): stat.PanelBuilder {
  const judged = words !== undefined || thresholds !== undefined
  return new stat.PanelBuilder()
    .graphMode(words ? common.BigValueGraphMode.None : common.BigValueGraphMode.Area)
    .colorMode(judged ? common.BigValueColorMode.Background : common.BigValueColorMode.None)
    .textMode(common.BigValueTextMode.Value)
    .reduceOptions(newest())
}

function gaugeOf(): gauges.PanelBuilder {
  return new gauges.PanelBuilder().reduceOptions(newest())
}

function barsOf(): bars.PanelBuilder {
  return new bars.PanelBuilder()
    .orientation(common.VizOrientation.Horizontal)
    .displayMode(common.BarGaugeDisplayMode.Gradient)
    .reduceOptions(newest())
}

function statesOf(): states.PanelBuilder {
  return new states.PanelBuilder()
    .mergeValues(true)
    .showValue(common.VisibilityMode.Auto)
    .rowHeight(0.8)
    .legend(legend())
    .tooltip(tooltip())
}

function tableOf(): table.PanelBuilder {
  return new table.PanelBuilder()
    .showHeader(true)
    .withTransformation({ id: 'organize', options: { excludeByName: { Time: true } } })
}

function newest(): common.ReduceDataOptionsBuilder {
  return new common.ReduceDataOptionsBuilder().calcs(['lastNotNull']).values(false)
}

function legend(): common.VizLegendOptionsBuilder {
  return new common.VizLegendOptionsBuilder()
    .displayMode(common.LegendDisplayMode.List)
    .placement(common.LegendPlacement.Bottom)
    .showLegend(true)
}

function tooltip(): common.VizTooltipOptionsBuilder {
  return new common.VizTooltipOptionsBuilder()
    .mode(common.TooltipDisplayMode.Multi)
    .sort(common.SortOrder.Descending)
}
