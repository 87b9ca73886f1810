import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { METRICS } from '../src/core/metrics.ts'
import { RULES } from '../src/monitor/alerts/rules.ts'
import { alertsAbout } from './alerts-about.ts'
import { DASHBOARDS } from './dashboards.ts'
import { leavesOf, metricsOf } from './expressions.ts'
import { COLUMNS, laidOut } from './layout.ts'
import { NOT_SHOWN } from './not-shown.ts'
import type { Dashboard, Panel } from './panel.ts'
import { rendered, textOf } from './render.ts'
import { narrowing } from './variables.ts'

const root = join(import.meta.dirname, '..')
const panels = DASHBOARDS.flatMap((dashboard) => panelsOf(dashboard))
const every = panels.map((one) => [`${one.dashboard.uid}: ${one.panel.title}`, one] as const)

describe('all dashboards', () => {
  test('have thirty panels and more, fifteen and more of them on the overview', () => {
    expect(panels.length).toBeGreaterThanOrEqual(30)
    expect(panels.filter(({ dashboard }) => dashboard.uid === 'helixflow-overview').length).toBeGreaterThan(
      14,
    )
  })

  test('lie in deploy/grafana as they are made of this code', () => {
    const directory = join(root, 'deploy', 'grafana', 'dashboards')
    const made = DASHBOARDS.map((dashboard) => `${dashboard.uid}.json`)
    expect(readdirSync(directory).sort()).toEqual([...made].sort())
    // Compared as one word each: a difference of a thousand lines says no more than `npm run gen`.
    const stale = DASHBOARDS.filter(
      (one) => readFileSync(join(directory, `${one.uid}.json`), 'utf8') !== textOf(one),
    )
    expect(stale.map(({ uid }) => `${uid}: npm run gen`)).toEqual([])
  })

  test('show every metric, or say why not', () => {
    const shown = new Set<string>(
      panels.flatMap(({ panel }) => panel.series.flatMap(({ query }) => metricsOf(query))),
    )
    const missing = Object.keys(METRICS).filter((name) => !shown.has(name) && !(name in NOT_SHOWN))
    expect(missing).toEqual([])
    expect(Object.keys(NOT_SHOWN).filter((name) => shown.has(name))).toEqual([])
  })

  test('have addresses and titles of their own', () => {
    for (const key of ['uid', 'title'] as const) {
      expect(new Set(DASHBOARDS.map((one) => one[key])).size).toBe(DASHBOARDS.length)
    }
  })
})

describe.each(DASHBOARDS.map((one) => [one.uid, one] as const))('%s', (_uid, dashboard) => {
  const built = rendered(dashboard)

  test('lays its panels out side by side, none over another and none beyond the edge', () => {
    const places = laidOut(dashboard).flatMap(({ place, panels: placed }) => [
      place,
      ...placed.map((one) => one.place),
    ])
    expect(places.filter(({ x, w, h }) => x < 0 || w < 1 || h < 1 || x + w > COLUMNS)).toEqual([])
    const cells = places.flatMap(({ x, y, w, h }) =>
      Array.from({ length: w * h }, (_, at) => `${x + (at % w)},${y + Math.floor(at / w)}`),
    )
    expect(cells.length - new Set(cells).size).toBe(0)
  })

  test('is given to Grafana as it was laid out, each panel with a number of its own', () => {
    const given = (built.panels ?? []).map((panel) => ({ id: panel.id, ...panel.gridPos }))
    const meant = laidOut(dashboard).flatMap(({ place, panels: placed }) => [
      place,
      ...placed.map((one) => one.place),
    ])
    expect(given).toEqual(meant)
    expect(new Set(given.map(({ id }) => id)).size).toBe(given.length)
  })

  test('narrows only by labels that some of its metrics have', () => {
    const narrowed = new Set(
      panelsOf(dashboard).flatMap(({ panel }) =>
        panel.series.flatMap(({ query }) =>
          leavesOf(query).flatMap((leaf) => narrowing(leaf.metric, dashboard.variables)),
        ),
      ),
    )
    expect([...narrowed].sort()).toEqual([...dashboard.variables].sort())
  })
})

describe.each(every)('%s', (_name, { dashboard, panel }) => {
  test('says in a sentence what it shows', () => {
    expect(panel.title).toMatch(/^[A-Z][^.]*[^.:]$/)
    expect(panel.description).toMatch(/^[A-Z0-9].{20,}\.$/s)
  })

  test('tells its series apart by every label that they have', () => {
    const legends = panel.series.map(({ legend }) => legend)
    expect(new Set(legends).size).toBe(legends.length)
    if (panel.look === 'table') return
    for (const { query, legend } of panel.series) {
      const named = [...legend.matchAll(/\{\{(\w+)\}\}/g)].map(([, label]) => label)
      expect([...named].sort()).toEqual([...(leavesOf(query)[0]?.by ?? [])].sort())
    }
  })

  test('compares figures that are narrowed by the same choices', () => {
    if (panel.whole) return
    const ways = panel.series.flatMap(({ query }) =>
      leavesOf(query).map((leaf) => narrowing(leaf.metric, dashboard.variables).join()),
    )
    expect(new Set(ways).size).toBe(1)
  })

  test('has bounds that rise, and words where it shows states', () => {
    const bounds = (panel.thresholds ?? []).map(({ from }) => from ?? Number.NEGATIVE_INFINITY)
    expect(bounds).toEqual([...new Set(bounds)].sort((one, other) => one - other))
    if (panel.thresholds) expect(panel.thresholds[0]?.from).toBeNull()
    if (panel.look === 'states') expect(panel.words?.length).toBeGreaterThan(1)
  })
})

test('every alert is linked from a panel about it', () => {
  const linked = new Set(panels.flatMap(({ panel }) => alertsAbout(panel)))
  expect(RULES.map(({ name }) => name).filter((name) => !linked.has(name))).toEqual([])
})

function panelsOf(dashboard: Dashboard): { dashboard: Dashboard; panel: Panel }[] {
  return dashboard.sections.flatMap((section) => section.panels.map((panel) => ({ dashboard, panel })))
}
