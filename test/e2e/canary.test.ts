import { afterEach, expect, test } from 'vitest'
import { helixflow } from '../support/helixflow.ts'
import { processesWith } from '../support/processes.ts'
import { type Server, startServer } from '../support/server.ts'

const servers: Server[] = []
afterEach(async () => {
  for (const server of servers.splice(0)) {
    for (const pid of enginesOf(server)) process.kill(pid, 'SIGCONT')
    await server.stop()
  }
})

async function start(config: Readonly<Record<string, object>>): Promise<Server> {
  const server = await startServer({ config })
  servers.push(server)
  return server
}

function enginesOf({ home }: Server): number[] {
  return processesWith(home).filter((pid) => processesWith('llama-server').includes(pid))
}

async function metricOf({ metricsUrl }: Server, series: string): Promise<number | undefined> {
  const text = await (await fetch(metricsUrl)).text()
  const line = text.split('\n').find((one) => one.startsWith(`${series} `))
  return line === undefined ? undefined : Number(line.slice(series.length + 1))
}

const HEALTHY = 'helixflow_canary_healthy{model="tiny"}'
const FAILURES = 'helixflow_canary_failures_total{model="tiny"}'

test('an engine that stands still is found out while nobody asks for anything, and trusted again when it goes on', async () => {
  const server = await start({
    gateway: { canaryInterval: '300ms' },
    engines: { stuckTimeout: '10m', probeTimeout: '1m' },
  })
  await expect.poll(() => metricOf(server, HEALTHY)).toBe(1)
  const [engine = 0] = enginesOf(server)
  process.kill(engine, 'SIGSTOP')
  await expect.poll(() => metricOf(server, HEALTHY), { timeout: 30_000 }).toBe(0)
  expect(await metricOf(server, FAILURES)).toBeGreaterThan(0)
  process.kill(engine, 'SIGCONT')
  await expect.poll(() => metricOf(server, HEALTHY), { timeout: 30_000 }).toBe(1)
})

test('tests keep no model loaded, and are billed to nobody', async () => {
  const server = await start({ gateway: { canaryInterval: '100ms' }, models: { keepAlive: '3s' } })
  const seconds = 'helixflow_canary_seconds_count{model="tiny"}'
  await expect.poll(() => metricOf(server, seconds)).toBeGreaterThan(3)
  expect(enginesOf(server)).toHaveLength(1)
  await expect.poll(() => enginesOf(server), { timeout: 30_000 }).toEqual([])
  await expect.poll(() => metricOf(server, HEALTHY)).toBeUndefined()
  const { out } = await helixflow(server, 'usage', 'requests', '--json')
  expect(JSON.parse(out)).toEqual({ data: [] })
})
