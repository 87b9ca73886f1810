import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parse, stringify } from 'yaml'
import { DASHBOARDS } from '../../../dashboards/dashboards.ts'
import { panelExpressions } from '../../../dashboards/expressions.ts'
import { ALERTS } from '../../../dashboards/render.ts'
import type { MetricName } from '../../../src/core/metrics.ts'
import { freePort } from '../../support/free-port.ts'
import { PlatformLoad } from '../../support/platform-load.ts'
import { PrometheusServer, prometheusPrograms, promtool } from '../../support/prometheus.ts'
import { RedisServer } from '../../support/redis.ts'
import { type Server, startServer, tinyModel } from '../../support/server.ts'

/** Metrics that no part exports yet; what asks for them must be valid all the same. */
const AWAITED: readonly MetricName[] = []

/** What cannot be here, and why. */
const WITHOUT_DATA: { readonly [Name in MetricName]?: string } = {
  helixflow_device_utilization_ratio: 'the only device is the memory of this machine',
  helixflow_device_temperature_celsius: 'the only device is the memory of this machine',
  helixflow_device_power_watts: 'the only device is the memory of this machine',
  helixflow_db_replica_lag_bytes: 'the database has no replica',
  helixflow_db_replica_up: 'the database has no replica',
}

const deploy = join(import.meta.dirname, '..', '..', '..', 'deploy')

let redis: RedisServer
let server: Server
let prometheus: PrometheusServer
let load: PlatformLoad
beforeAll(async () => {
  redis = await RedisServer.start()
  server = await startServer({
    models: { tiny: await tinyModel(1), other: await tinyModel(2) },
    config: {
      redis: { urls: [redis.url] },
      models: { slots: 4, contextLength: 512, perModel: { other: { keepAlive: '1s' } } },
      scheduler: { residencyMin: '0s' },
      prices: { '*': { input: 1, output: 2 } },
      upstreams: [{ name: 'far', url: `http://127.0.0.1:${await freePort()}/v1`, models: ['far'], slots: 4 }],
    },
  })
  prometheus = await PrometheusServer.start(scrapeSettings(server.metricsUrl))
  load = await PlatformLoad.start(server)
})
afterAll(async () => {
  await load?.stop()
  await prometheus?.stop()
  await server?.stop()
  await redis?.stop()
})

describe('a Prometheus that reads a running platform', () => {
  test('has data for every expression of every panel, but for those that cannot have any here', async () => {
    const expressions = DASHBOARDS.flatMap(panelExpressions)
    const excused = new Set<string>([...Object.keys(WITHOUT_DATA), ...AWAITED])
    const wanted = expressions.filter(({ metrics }) => !metrics.some((name) => excused.has(name)))
    const missing = async () => {
      const answers = await Promise.all(
        wanted.map(async (one) => ({ one, data: await hasData(one.expression) })),
      )
      return answers.filter(({ data }) => !data).map(({ one }) => `${one.panel}: ${one.expression}`)
    }
    await expect.poll(missing, { timeout: 40_000, interval: 1_000 }).toEqual([])
    // What is excused is valid, and has none indeed.
    const others = expressions.filter((one) => !wanted.includes(one))
    const found = await Promise.all(
      others.map(async ({ expression }) => ((await hasData(expression)) ? expression : [])),
    )
    expect(found.flat()).toEqual([])
  })

  test('knows every label by which dashboards are narrowed', async () => {
    const variables = [...new Set(DASHBOARDS.flatMap(({ variables: names }) => names))]
    for (const label of variables) {
      expect(await prometheus.api(`label/${label}/values`), label).not.toEqual([])
    }
  })

  test('takes the marks of alerts on dashboards', async () => {
    expect(await prometheus.query(ALERTS)).toBeInstanceOf(Array)
  })
})

describe('promtool', () => {
  test('finds nothing to say against what the platform exports', async () => {
    const input = await (await fetch(server.metricsUrl)).text()
    const { binaries, environment } = await prometheusPrograms()
    const options = { input, env: { ...environment }, encoding: 'utf8' } as const
    const { stdout, stderr, status } = spawnSync(join(binaries, 'promtool'), ['check', 'metrics'], options)
    expect({ said: stdout + stderr, status }).toEqual({ said: '', status: 0 })
  })

  test('takes the settings that lie in deploy', async () => {
    const checked = await promtool('check', 'config', join(deploy, 'prometheus', 'prometheus.yaml'))
    expect(checked.text).toContain('SUCCESS')
    expect(checked.succeeded).toBe(true)
  })
})

/** Grafana's variables as they are when nothing is chosen. */
function hasData(expression: string): Promise<boolean> {
  const filled = expression.replaceAll('$__rate_interval', '20s').replaceAll(/"\$\w+"/g, '".*"')
  return prometheus.query(filled).then((samples) => samples.some(({ value }) => Number.isFinite(value)))
}

/** Those of deploy, with a server of this test, read each second. */
function scrapeSettings(metricsUrl: string): string {
  const settings = parse(readFileSync(join(deploy, 'prometheus', 'prometheus.yaml'), 'utf8'))
  settings.global = { scrape_interval: '1s', scrape_timeout: '1s', evaluation_interval: '1s' }
  settings.rule_files = []
  settings.scrape_configs[0].static_configs[0].targets = [new URL(metricsUrl).host]
  return stringify(settings)
}
