import { setImmediate as turn } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { HelixError } from '../../../src/core/errors.ts'
import { type Random, seededRandom } from '../../../src/core/random.ts'
import type { Cursor, StreamWriter } from '../../../src/streams/stream.ts'
import { isLast, type StreamEvent } from '../../../src/streams/stream-event.ts'
import { RedisServer } from '../../support/redis.ts'
import { Generator, hashOf, StreamGateway, streamHead, upTo } from '../../support/stream-gateway.ts'

const SEEDS = [1, 2, 3]
const STREAMS = 8
const READERS = 40
const TURNS = 300

let server: RedisServer
beforeAll(async () => {
  server = await RedisServer.start()
})
afterAll(() => server.stop())

const upToInt = (random: Random, most: number) => Math.floor(random.uniform() * (most + 1))
function pick<One>(random: Random, all: readonly One[]): One {
  return all[Math.floor(random.uniform() * all.length)] as One
}

/** Opens, reads, lags, leaves and comes back at whichever gateway, until it has everything. */
class RandomReader {
  readonly events: StreamEvent[] = []
  readonly refusals: string[] = []
  private readonly random: Random
  private epoch: string | undefined

  constructor(
    private readonly gateways: readonly StreamGateway[],
    private readonly id: string,
    seed: number,
  ) {
    this.random = seededRandom(seed)
  }

  get complete(): boolean {
    const last = this.events.at(-1)
    return last !== undefined && isLast(last)
  }

  async run(): Promise<void> {
    while (!this.complete) {
      for (let pause = upToInt(this.random, 5); pause > 0; pause--) await turn()
      await this.visit(pick(this.random, this.gateways))
    }
  }

  private async visit({ streams }: StreamGateway): Promise<void> {
    const stream = await streams.find('org_a', this.id).catch((reason) => HelixError.from(reason).code)
    if (typeof stream === 'string') return void this.refusals.push(stream)
    let wake = () => {}
    let lost: string | undefined
    const cursor = stream.open(
      this.events.length,
      {
        ready: () => wake(),
        lost: (reason) => {
          lost = reason
          wake()
        },
      },
      this.epoch,
    )
    if (typeof cursor === 'string') return void this.refusals.push(cursor)
    this.epoch = stream.head.epoch
    for (let stay = upToInt(this.random, 60); stay > 0 && !lost && !this.complete; stay--) {
      if (this.take(cursor)) continue
      const told = new Promise<void>((resolve) => (wake = resolve))
      await (this.random.uniform() < 0.5 && !cursor.peek() ? told : turn())
    }
    cursor.close()
    if (lost) this.refusals.push(lost)
  }

  /** Some events, perhaps none. */
  private take(cursor: Cursor): boolean {
    let taken = 0
    for (let most = upToInt(this.random, 30); most > 0; most--) {
      const event = cursor.next()
      if (!event) break
      this.events.push(event)
      taken++
    }
    return taken > 0
  }
}

async function write(writers: readonly StreamWriter[], random: Random, disturb: () => void): Promise<void> {
  for (let count = 0; count < TURNS; count++) {
    for (let some = upToInt(random, 6); some > 0; some--) {
      const writer = pick(random, writers)
      for (let burst = upToInt(random, 8); burst > 0; burst--)
        writer.append('delta', JSON.stringify({ text: `${writer.nextSeq}:${random.uniform()}` }))
    }
    disturb()
    await turn()
  }
  for (const writer of writers) writer.append('end', '{}')
}

async function run(seed: number, disturbed: boolean): Promise<string[]> {
  const random = seededRandom(seed)
  const gateways: StreamGateway[] = []
  const settings = disturbed ? { timeoutMs: 30 } : {}
  for (let made = 0; made < 2; made++)
    gateways.push(await StreamGateway.start({ urls: [server.url] }, settings))
  const writers: StreamWriter[] = []
  for (let made = 0; made < STREAMS; made++)
    writers.push(await pick(random, gateways).streams.create(streamHead(), new Generator()))
  const readers = Array.from(
    { length: READERS },
    (_, place) => new RandomReader(gateways, pick(random, writers).head.id, seed * 1_000 + place),
  )
  let frozen = 0
  const disturb = () => {
    if (!disturbed) return
    if (frozen > 0 && --frozen === 0) server.thaw()
    else if (frozen === 0 && random.uniform() < 0.03) {
      server.freeze()
      frozen = 1 + upToInt(random, 20)
    } else if (frozen === 0 && random.uniform() < 0.01)
      void server.command('CLIENT', 'KILL', 'TYPE', 'pubsub')
  }
  try {
    await Promise.all([
      ...readers.map((one) => one.run()),
      write(writers, random, disturb).finally(() => server.thaw()),
    ])
    for (const { events } of readers) expect(events.map(({ seq }) => seq)).toEqual(upTo(events.length))
    const hashes = new Map<string, Set<string>>()
    for (const reader of readers) {
      const id = reader['id']
      hashes.set(id, (hashes.get(id) ?? new Set()).add(hashOf(reader.events)))
    }
    for (const { head, stream } of writers) {
      const whole: StreamEvent[] = []
      const cursor = stream.open(0, { ready: () => {}, lost: () => {} })
      if (typeof cursor === 'string') throw new Error(cursor)
      for (let event = cursor.next(); event; event = cursor.next()) whole.push(event)
      cursor.close()
      expect([...(hashes.get(head.id) ?? [hashOf(whole)])]).toEqual([hashOf(whole)])
    }
    return readers.flatMap(({ refusals }) => refusals)
  } finally {
    for (const one of gateways) await one.stop()
  }
}

test.each(SEEDS)(
  'readers that come and go at two gateways miss nothing and get nothing twice (seed %i)',
  async (seed) => {
    // Nobody is ever refused.
    expect(await run(seed, false)).toEqual([])
  },
)

test.each(SEEDS)(
  'and the same while Redis stands still now and then and messages are lost (seed %i)',
  async (seed) => {
    const refusals = await run(seed, true)
    // What a gateway shows ahead of Redis is a gap at the other, until Redis has it.
    expect(refusals.filter((one) => one !== 'gap' && one !== 'storage_unavailable')).toEqual([])
  },
)
