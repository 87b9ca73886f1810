import { Agent } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import { seededRandom } from '../../src/core/random.ts'
import { helixflow } from './helixflow.ts'
import { administratorKey, sendJson } from './http-administration.ts'
import { post } from './raw-client.ts'
import type { Server } from './server.ts'

const REQUESTS_PER_SECOND = 500

/** How long after its stated end a key may still be taken. */
const LATENESS_MAX_MS = 1_000

interface Key {
  readonly id: string
  readonly plaintext: string
}

interface Seen {
  readonly key: Key
  /** By the clock of the machine, as the end of the key is. */
  readonly sentAtMs: number
  readonly answeredAtMs: number
  readonly status: number
  readonly code: string
}

/**
 * Rotates a key again and again while its callers go on, half of them with each key for as long as there are two.
 * Until the end that the server states not one request fails, on whichever gateway; from a second after it none of
 * the old key's gets in.
 * @param gateways on one auth service, each before the upstream model `far`
 */
export async function rotateUnderLoad(
  gateways: readonly [Server, ...Server[]],
  { rotations, seed }: { readonly rotations: number; readonly seed: number },
): Promise<void> {
  const random = seededRandom(seed)
  const administrator = await administratorKey(gateways[0])
  let current = JSON.parse((await helixflow(gateways[0], 'keys', 'create', 'rotated', '--json')).out) as Key
  const load = new Load(gateways, current)
  try {
    for (let rotation = 0; rotation < rotations; rotation++) {
      const overlapSeconds = 2 + Math.floor(random.uniform() * 3)
      const old = current
      const { next, endsAtMs } = await rotate(gateways, administrator, { old, overlapSeconds })
      current = next
      const first = await Promise.all(gateways.map((gateway) => ask(gateway, next, load.agent)))
      expect(
        first.map(({ status }) => status),
        'from its first use',
      ).toEqual(gateways.map(() => 200))
      load.keys = [old, next]
      await until(endsAtMs + LATENESS_MAX_MS + 250)
      load.keys = [next]
      const seen = await load.taken()
      expectEnd(
        seen.filter(({ key }) => key === old),
        { endsAtMs, overlapSeconds },
      )
      expect(seen.filter(({ key, status }) => key !== old && status !== 200)).toEqual([])
    }
  } finally {
    await load.stop()
  }
}

function expectEnd(
  seen: readonly Seen[],
  { endsAtMs, overlapSeconds }: { readonly endsAtMs: number; readonly overlapSeconds: number },
): void {
  const before = seen.filter(({ answeredAtMs }) => answeredAtMs < endsAtMs)
  const after = seen.filter(({ sentAtMs }) => sentAtMs > endsAtMs + LATENESS_MAX_MS)
  expect(
    before.filter(({ status }) => status !== 200),
    'before the stated end',
  ).toEqual([])
  expect(
    after.filter(({ status }) => status !== 401),
    'after it',
  ).toEqual([])
  const codes = new Set(seen.filter(({ status }) => status !== 200).map(({ code }) => code))
  expect([...codes]).toEqual(['api_key_expired'])
  // Half of the load is the old key's: nothing was held back while it would have failed.
  expect(before.length).toBeGreaterThan((overlapSeconds * REQUESTS_PER_SECOND) / 4)
  expect(after.length).toBeGreaterThan(0)
}

/** At one gateway; the end of the old key is what another one says of it. */
async function rotate(
  [first, ...others]: readonly [Server, ...Server[]],
  administrator: string,
  { old, overlapSeconds }: { readonly old: Key; readonly overlapSeconds: number },
): Promise<{ next: Key; endsAtMs: number }> {
  const path = `/admin/v1/keys/${old.id}`
  const rotated = await sendJson(first, administrator, {
    method: 'POST',
    path: `${path}/rotate`,
    body: { overlapSeconds },
  })
  expect(rotated.status).toBe(200)
  const shown = await sendJson(others[0] ?? first, administrator, { method: 'GET', path })
  const { id = '', plaintext = '' } = rotated.body
  return { next: { id, plaintext }, endsAtMs: Date.parse(shown.body.expiresAt ?? '') }
}

async function ask(gateway: Server, key: Key, agent: Agent): Promise<Seen> {
  const sentAtMs = Date.now()
  const { status, text } = await post(`${gateway.url}/chat/completions`, {
    agent,
    headers: { authorization: `Bearer ${key.plaintext}` },
    body: JSON.stringify({ model: 'far', messages: [{ role: 'user', content: 'Hello' }] }),
  })
  const code = status === 200 ? '' : (JSON.parse(text) as { error: { code: string } }).error.code
  return { key, sentAtMs, answeredAtMs: Date.now(), status, code }
}

async function until(atMs: number): Promise<void> {
  while (Date.now() < atMs) await sleep(atMs - Date.now())
}

/** So many requests in each second, whether the ones before were answered or not, to the gateways in turn. */
class Load {
  readonly agent = new Agent({ keepAlive: true, maxSockets: 128 })
  keys: readonly Key[]
  private asked: Promise<Seen>[] = []
  private number = 0
  private readonly startedMs = performance.now()
  private readonly timer: NodeJS.Timeout

  constructor(
    private readonly gateways: readonly Server[],
    key: Key,
  ) {
    this.keys = [key]
    this.timer = setInterval(() => this.askWhatIsDue(), 5)
  }

  /** The answers to all that was asked since the last call. */
  taken(): Promise<readonly Seen[]> {
    return Promise.all(this.asked.splice(0))
  }

  async stop(): Promise<void> {
    clearInterval(this.timer)
    await Promise.allSettled(this.asked)
    this.agent.destroy()
  }

  private askWhatIsDue(): void {
    const due = ((performance.now() - this.startedMs) / 1_000) * REQUESTS_PER_SECOND
    for (; this.number < due; this.number++) {
      const gateway = this.gateways[this.number % this.gateways.length]
      const key = this.keys[Math.floor(this.number / this.gateways.length) % this.keys.length]
      if (!gateway || !key) return
      const asked = ask(gateway, key, this.agent)
      // Told where it is looked at.
      asked.catch(() => {})
      this.asked.push(asked)
    }
  }
}
