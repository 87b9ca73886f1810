import { spawnSync } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parse, stringify } from 'yaml'
import { DASHBOARDS } from '../../../dashboards/dashboards.ts'
import { metricsOf, type PanelExpression, panelExpressions } from '../../../dashboards/expressions.ts'
import { ALERTS } from '../../../dashboards/render.ts'
import type { TlsFiles } from '../../../src/contracts/rpc-transport.ts'
import type { MetricName } from '../../../src/core/metrics.ts'
import { RULES } from '../../../src/monitor/alerts/rules.ts'
import { promql, promqlOfCondition } from '../../../src/monitor/query/promql.ts'
import { queriesOf } from '../../../src/monitor/query/selection.ts'
import { makeCertificates } from '../../support/certificates.ts'
import { freePort } from '../../support/free-port.ts'
import { PlatformLoad } from '../../support/platform-load.ts'
import { PrometheusServer, prometheusPrograms, promtool } from '../../support/prometheus.ts'
import { quietFor } from '../../support/quiet-platform.ts'
import { answering, ReceiverServer, taken } from '../../support/receiver-server.ts'
import { RedisServer } from '../../support/redis.ts'
import { type Server, startServer, tinyModel } from '../../support/server.ts'

/**
 * What comes with some luck: a model that is loaded ahead, a statement or a test generation that fails. Valid, with data
 * or without.
 */
const BY_CHANCE: readonly MetricName[] = [
  'helixflow_prefetch_total',
  'helixflow_prefetch_precision_ratio',
  'helixflow_db_failures_total',
  'helixflow_canary_failures_total',
]

/** What cannot be here, and why. */
const WITHOUT_DATA: { readonly [Name in MetricName]?: string } = {
  helixflow_device_utilization_ratio: 'the only device is the memory of this machine',
  helixflow_device_temperature_celsius: 'the only device is the memory of this machine',
  helixflow_device_power_watts: 'the only device is the memory of this machine',
  helixflow_pool_epoch: 'the only pool leads without a seat that another could take',
  helixflow_db_replica_lag_bytes: 'the database has no replica',
  helixflow_db_replica_up: 'the database has no replica',
  helixflow_metric_overflow_total: 'no metric here has too many series',
}

/** Only cards say how much of their memory is used by anybody. */
const USED_OF_CARDS = 'kind="used"'

const deploy = join(import.meta.dirname, '..', '..', '..', 'deploy')

let redis: RedisServer
let receiver: ReceiverServer
let certificates: TlsFiles
let server: Server
let prometheus: PrometheusServer
let load: PlatformLoad
beforeAll(async () => {
  redis = await RedisServer.start()
  // Told again what it did not take.
  receiver = await ReceiverServer.start((received) => {
    const answer = receiver.received.length === 1 ? answering(503) : taken
    answer(received)
  })
  certificates = await makeCertificates()
  server = await startServer({
    models: { tiny: await tinyModel(1), other: await tinyModel(2) },
    config: {
      redis: { urls: [redis.url] },
      rpc: { tls: certificates },
      gateway: { canaryInterval: '100ms' },
      monitor: { interval: '1s', receivers: [{ kind: 'webhook', name: 'hook', url: receiver.url }] },
      models: { slots: 4, contextLength: 512, perModel: { other: { keepAlive: '1s' } } },
      scheduler: { residencyMin: '0s' },
      prices: { '*': { input: 1, output: 2 } },
      upstreams: [{ name: 'far', url: `http://127.0.0.1:${await freePort()}/v1`, models: ['far'], slots: 4 }],
    },
  })
  prometheus = await PrometheusServer.start(scrapeSettings(server.metricsUrl), {
    'alerts.yaml': readFileSync(join(deploy, 'prometheus', 'alerts.yaml'), 'utf8'),
  })
})
afterAll(async () => {
  await load?.stop()
  await prometheus?.stop()
  await server?.stop()
  await receiver?.stop()
  await redis?.stop()
  if (certificates) rmSync(dirname(certificates.key), { recursive: true, force: true })
})

describe('of a platform that is well', () => {
  test('nobody is told anything, here or by Prometheus', async () => {
    await quietFor(server, 8_000)
    expect(await prometheus.query('ALERTS')).toEqual([])
  })
})

describe('a Prometheus that reads a running platform', () => {
  beforeAll(async () => {
    load = await PlatformLoad.start(server)
  })

  test('has data for every expression of every panel, but for those that cannot have any here', async () => {
    await everyOneHasData(DASHBOARDS.flatMap(panelExpressions))
  }, 70_000)

  test('has data for every question that an alert asks, and takes what is made of them', async () => {
    const questions = RULES.flatMap(({ name, condition }) =>
      queriesOf(condition).map((query) => ({
        panel: name,
        expression: promql(query),
        metrics: metricsOf(query),
      })),
    )
    await everyOneHasData(questions)
    for (const { condition } of RULES) {
      expect(await prometheus.query(promqlOfCondition(condition))).toBeInstanceOf(Array)
    }
  }, 70_000)

  test('evaluates the rules that lie in deploy', async () => {
    const rules = async () => {
      const { groups } = (await prometheus.api('rules')) as RulesAnswer
      return groups.flatMap((group) => group.rules)
    }
    await expect.poll(async () => (await rules()).filter(({ health }) => health === 'unknown')).toEqual([])
    expect((await rules()).filter(({ health }) => health !== 'ok')).toEqual([])
    expect((await rules()).length).toBeGreaterThanOrEqual(RULES.length)
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

interface RulesAnswer {
  readonly groups: readonly {
    readonly rules: readonly { readonly name: string; readonly health: string }[]
  }[]
}

/** But for what is excused; and that is valid, and has none indeed. */
async function everyOneHasData(expressions: readonly PanelExpression[]): Promise<void> {
  const isExcused = (name: MetricName) => name in WITHOUT_DATA || BY_CHANCE.includes(name)
  const wanted = expressions.filter(
    ({ metrics, expression }) => !metrics.some(isExcused) && !expression.includes(USED_OF_CARDS),
  )
  const without = async (some: readonly PanelExpression[]) => {
    const has = await Promise.all(some.map(({ expression }) => hasData(expression)))
    return some.filter((_, at) => !has[at]).map(({ panel, expression }) => `${panel}: ${expression}`)
  }
  // Budgets are looked at twice a minute.
  await expect.poll(() => without(wanted), { timeout: 60_000, interval: 1_000 }).toEqual([])
  const others = expressions.filter((one) => !wanted.includes(one))
  const empty = await without(others)
  const impossible = others.filter(({ metrics }) => metrics.some((name) => name in WITHOUT_DATA))
  const named = impossible.map(({ panel, expression }) => `${panel}: ${expression}`)
  expect(named.filter((one) => !empty.includes(one))).toEqual([])
}

/** Grafana's variables as they are when nothing is chosen. */
async function hasData(expression: string): Promise<boolean> {
  const filled = expression.replaceAll('$__rate_interval', '20s').replaceAll(/"\$\w+"/g, '".*"')
  const samples = await prometheus.query(filled)
  return samples.some(({ value }) => Number.isFinite(value))
}

/** Those of deploy, with a server of this test, read each second. */
function scrapeSettings(metricsUrl: string): string {
  const settings = parse(readFileSync(join(deploy, 'prometheus', 'prometheus.yaml'), 'utf8'))
  settings.global = { scrape_interval: '1s', scrape_timeout: '1s', evaluation_interval: '1s' }
  settings.scrape_configs[0].static_configs[0].targets = [new URL(metricsUrl).host]
  return stringify(settings)
}
