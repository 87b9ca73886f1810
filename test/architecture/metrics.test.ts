import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { METRICS_PAGE, metricsPage, unlisted } from '../../scripts/gen-docs.ts'
import { METRICS } from '../../src/core/metrics.ts'

const src = join(import.meta.dirname, '..', '..', 'src')

const sources = readdirSync(src, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts'))
  .filter((name) => !name.startsWith(join('core', 'metrics')))
const setters = sources
  .map((name) => readFileSync(join(src, name), 'utf8'))
  .flatMap((text) => [...text.matchAll(/\.(?:add|set|observe)\(\s*'([a-z_]+)'/g)].map(([, name]) => name))

test('every metric that is declared is set by real code', () => {
  const unset = Object.keys(METRICS).filter((name) => !setters.includes(name))
  expect(unset).toEqual([])
})

test('docs/metrics.md lists every metric as it is declared (npm run gen)', () => {
  const page = readFileSync(METRICS_PAGE, 'utf8')
  expect(page).toBe(metricsPage(page))
  expect(unlisted()).toEqual([])
})
