import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { HelixFlowClient } from '../../../src/client/client.ts'
import { seededRandom } from '../../../src/core/random.ts'
import { fastTime, pick, randomPieces } from '../../support/client-time.ts'
import { ResetProxy } from '../../support/reset-proxy.ts'
import { type Fault, ScriptedGateway } from '../../support/scripted-gateway.ts'

const RUNS = 500
const SIDE_BY_SIDE = 25
const FAULTS: readonly Fault[] = [
  'drop',
  'close',
  'drain',
  'mute',
  'double',
  'double',
  'skip',
  'skip',
  'swap',
  'swap',
  'old',
  'unknown',
  'overload',
]

/** What one seed stands for: a text, how it is read, and what goes wrong on the way. */
async function run(
  seed: number,
): Promise<{ text: string; expected: string; faults: number; resets: number }> {
  const random = seededRandom(seed)
  const pieces = randomPieces(random, 1 + Math.floor(random.uniform() * 120))
  const frequency = random.uniform() * 0.1
  let faults = 0
  const gateway = await ScriptedGateway.start({
    heartbeatMs: 2_000,
    pieces: () => pieces,
    fault: () => {
      if (random.uniform() >= frequency) return 'none'
      faults++
      return pick(random, FAULTS)
    },
  })
  const proxy = await ResetProxy.start(gateway.port, () =>
    random.uniform() < 0.5 ? 1 + Math.floor(random.uniform() * 6_000) : Number.POSITIVE_INFINITY,
  )
  const client = new HelixFlowClient(
    {
      url: `http://127.0.0.1:${proxy.port}`,
      apiKey: 'a key',
      WebSocket,
      // Time goes fifty times as fast, but not the processor.
      giveUpMs: Number.POSITIVE_INFINITY,
      bufferEvents: pick(random, [2, 16, 1_024]),
    },
    { time: fastTime(50), random: () => random.uniform() },
  )
  try {
    const stream = seed % 2 ? client.chat(question) : client.respond({ model: 'scripted', input: 'Hello' })
    const seen: string[] = []
    if (seed % 5 !== 0) {
      for await (const text of stream.text()) {
        seen.push(text)
        if (random.uniform() < 0.02) await sleep(5)
      }
      expect(seen.join('')).toBe(pieces.join(''))
    }
    const { text } = await stream.result
    return { text, expected: pieces.join(''), faults, resets: proxy.resets }
  } finally {
    await client.close()
    await proxy.stop()
    await gateway.stop()
  }
}

const question = { model: 'scripted', messages: [{ role: 'user' as const, content: 'Hello' }] }

test(`${RUNS} streams come whole and exact through connections that break, double, skip, swap and fall silent`, async () => {
  let faults = 0
  let resets = 0
  for (let first = 0; first < RUNS; first += SIDE_BY_SIDE) {
    const seeds = Array.from({ length: SIDE_BY_SIDE }, (_, index) => first + index)
    const results = await Promise.all(
      seeds.map((seed) =>
        run(seed).catch((cause) => {
          throw new Error(`seed ${seed}`, { cause })
        }),
      ),
    )
    for (const [index, result] of results.entries()) {
      expect(result.text, `seed ${seeds[index]}`).toBe(result.expected)
      faults += result.faults
      resets += result.resets
    }
  }
  // The script did what it says.
  expect(faults).toBeGreaterThan(RUNS)
  expect(resets).toBeGreaterThan(RUNS / 2)
}, 240_000)
