import { describe, expect, onTestFinished, test } from 'vitest'
import { ControlClient } from '../../src/cli/control-client.ts'
import { placesOf } from '../../src/config/places.ts'
import { parseConfig } from '../../src/config/schema.ts'
import type { HealthReport, HistorySeries } from '../../src/contracts/monitor.ts'
import { helixflow } from '../support/helixflow.ts'
import { childrenOf, processesWith } from '../support/processes.ts'
import { RedisServer } from '../support/redis.ts'
import { type Server, startServer } from '../support/server.ts'

async function start(config: Readonly<Record<string, object>> = {}): Promise<Server> {
  const server = await startServer({ config: { monitor: { interval: '200ms' }, ...config } })
  onTestFinished(async () => void (await server.stop()))
  return server
}

async function verdict({ origin }: Server): Promise<{ status: number; body: object }> {
  const answer = await fetch(`${origin}/healthz`)
  return { status: answer.status, body: (await answer.json()) as object }
}

function health({ home }: Server): Promise<HealthReport> {
  const { controlSocket } = placesOf(home, parseConfig({}))
  return new ControlClient(controlSocket).get<HealthReport>('/admin/v1/monitor/health')
}

/** The last that the platform says of itself, once that is so. */
function says(server: Server, text: RegExp) {
  return expect.poll(async () => (await health(server)).reasons.join('\n'), { timeout: 20_000 }).toMatch(text)
}

function isHealthy(server: Server) {
  return expect
    .poll(() => verdict(server), { timeout: 20_000 })
    .toEqual({ status: 200, body: { status: 'healthy' } })
}

describe('the verdict', () => {
  test('is healthy after a start, names no part to strangers, and all of them to who may know', async () => {
    const server = await start()
    await isHealthy(server)
    const detailed = `${server.origin}/admin/v1/monitor/health`
    expect((await fetch(detailed)).status).toBe(401)
    // The first key is for requests alone.
    const headers = { authorization: `Bearer ${server.apiKey}` }
    expect((await fetch(detailed, { headers })).status).toBe(403)
    const { code, out } = await helixflow(server, 'doctor', '--json')
    const { findings } = JSON.parse(out) as { findings: { subject: string; finding: string }[] }
    expect(code).toBe(0)
    const subjects = findings.map(({ subject }) => subject)
    expect(subjects).toEqual(expect.arrayContaining(['server', 'engine', 'service', 'database', 'device']))
    // Judged dozens of times by now: nothing is wrong with what has just been started and is hardly used.
    const alerts = await helixflow(server, 'alerts', 'list', '--json')
    expect(alerts).toMatchObject({ code: 0, out: '[]\n' })
  })

  test('has failed while the database stands still, and recovers with it', async () => {
    const server = await start()
    await isHealthy(server)
    const [postmaster] = processesWith(`${server.home}/postgres`)
    const frozen = postmaster === undefined ? [] : [postmaster, ...childrenOf(postmaster)]
    expect(frozen.length).toBeGreaterThan(1)
    for (const pid of frozen) process.kill(pid, 'SIGSTOP')
    try {
      await expect
        .poll(() => verdict(server), { timeout: 20_000 })
        .toEqual({
          status: 503,
          body: { status: 'failed' },
        })
      // Whoever was known is served, and told what is wrong.
      await says(server, /database primary: it does not answer/)
    } finally {
      for (const pid of frozen) process.kill(pid, 'SIGCONT')
    }
    await isHealthy(server)
  })

  test('is degraded while Redis is away, and recovers with it', async () => {
    const redis = await RedisServer.start()
    onTestFinished(() => redis.stop())
    const server = await start({ redis: { urls: [redis.url] } })
    await isHealthy(server)
    await redis.kill()
    await says(server, /redis redis: it does not answer/)
    expect(await verdict(server)).toEqual({ status: 200, body: { status: 'degraded' } })
    await redis.startAgain()
    await isHealthy(server)
  })

  test('tells of an engine that was killed', async () => {
    const server = await start()
    // Since the engine was ready, the monitor has seen that none had ended.
    const readyMs = Date.now()
    await expect.poll(async () => (await health(server)).atMs).toBeGreaterThan(readyMs + 500)
    const [engine] = processesWith(`${server.home}/models/tiny.gguf`)
    process.kill(engine ?? 0, 'SIGKILL')
    await says(server, /engine tiny: it ended by itself/)
  })
})

test('key figures have a history, that the command line shows', async () => {
  const server = await start()
  const read = async () => {
    const { out } = await helixflow(server, 'history', 'resident-memory', '--json')
    return JSON.parse(out) as HistorySeries[]
  }
  await expect.poll(async () => (await read())[0]?.points.length, { timeout: 20_000 }).toBeGreaterThan(0)
  const [series] = await read()
  expect(series).toMatchObject({ unit: 'bytes', resolution: '10s', labels: { role: 'all' } })
  expect(series?.points[0]?.value).toBeGreaterThan(10e6)
  const { out } = await helixflow(server, 'history')
  expect(out).toMatch(/loop-lag .*[▁-█]/)
  const { code, err } = await helixflow(server, 'history', 'nothing')
  expect(code).toBe(1)
  expect(err).toContain("There is no figure 'nothing'")
})
