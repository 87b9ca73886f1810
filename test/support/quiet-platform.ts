import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import { ControlClient } from '../../src/cli/control-client.ts'
import { placesOf } from '../../src/config/places.ts'
import { parseConfig } from '../../src/config/schema.ts'
import type { AlertView, HealthReport } from '../../src/contracts/monitor.ts'
import { helixflow } from './helixflow.ts'
import type { Server } from './server.ts'

const ROUND_MS = 500

/** What the monitor of that platform says of all parts. */
export function healthOf(server: Server): Promise<HealthReport> {
  return controlOf(server).get<HealthReport>('/admin/v1/monitor/health')
}

/** Whatever pends or fires, and what ended lately. */
export async function alertsOf(server: Server): Promise<readonly AlertView[]> {
  const { alerts } = await controlOf(server).get<{ alerts: readonly AlertView[] }>('/admin/v1/monitor/alerts')
  return alerts
}

/** A little of what callers do, mistakes of theirs among it; all the while nothing may be found wrong, nor at the end. */
export async function quietFor(
  server: Server,
  timeMs: number,
  models: readonly string[] = ['tiny'],
): Promise<void> {
  await expect.poll(async () => (await healthOf(server)).verdict, { timeout: 20_000 }).toBe('healthy')
  for (const endMs = performance.now() + timeMs; performance.now() < endMs; await sleep(ROUND_MS)) {
    await Promise.all([
      ...models.map((model) => chat(server, { model, stream: true })),
      chat(server, { model: 'of nobody' }),
      chat({ ...server, apiKey: 'hf_live_wrong' }, {}),
    ])
    const { verdict, reasons } = await healthOf(server)
    expect({ verdict, reasons, alerts: await alertsOf(server) }).toEqual({
      verdict: 'healthy',
      reasons: [],
      alerts: [],
    })
  }
  const strangers = await fetch(`${server.origin}/healthz`)
  expect({ status: strangers.status, body: await strangers.json() }).toEqual({
    status: 200,
    body: { status: 'healthy' },
  })
  const doctor = await helixflow(server, 'doctor')
  if (models.length > 0) expect(doctor.code, doctor.out).toBe(0)
}

function controlOf({ home }: Server): ControlClient {
  return new ControlClient(placesOf(home, parseConfig({})).controlSocket)
}

async function chat({ url, apiKey }: Pick<Server, 'url' | 'apiKey'>, more: object): Promise<void> {
  const answer = await fetch(`${url}/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ messages: [{ role: 'user', content: 'Hello' }], max_tokens: 8, ...more }),
  })
  await answer.text()
}
