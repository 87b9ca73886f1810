import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { RedisClient } from '../redis/connection.ts'
import { withinDeadline } from '../redis/deadline.ts'
import type { CacheMetrics } from './cache-metrics.ts'
import { type CachedAnswer, decodeAnswer, encodeAnswer, usefulUntilMs } from './cached-answer.ts'
import type { Invalidations } from './invalidations.ts'
import type { SharedLayer } from './layered-cache.ts'
import type { MemoryLayer } from './memory-layer.ts'

export interface RedisLayerParts {
  readonly client: RedisClient
  readonly subscriber: RedisClient
  /** Begins every key. */
  readonly prefix: string
  readonly timeoutMs: number
  /** What this process knows of invalidations: kept in step with what Redis has. */
  readonly invalidations: Invalidations
  /** Emptied when an invalidation may have been missed. */
  readonly memory: MemoryLayer
  readonly clock: Clock
  readonly metrics: CacheMetrics
}

/** After a failure nothing is asked for so long: a dead server must not cost every request its timeout. */
const PAUSE_MS = 1_000

/** Invalidated names that Redis keeps per tenant; what is older than the oldest of them is trusted by nobody. */
const NAMES_MAX = 1_024

/**
 * Raises the tenant's epoch, writes down what was invalidated in it, and tells everybody: all of it or nothing. Epochs
 * are times, so that they go on rising when the server has lost what it held.
 * KEYS: epoch, names, floor. ARGV: channel, tenant, most names, names...
 */
const INVALIDATE = `
local previous = tonumber(redis.call('GET', KEYS[1]) or '0')
local time = redis.call('TIME')
local epoch = math.max(previous + 1, time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('SET', KEYS[1], string.format('%d', epoch))
local names = {}
for at = 4, #ARGV do
  redis.call('ZADD', KEYS[2], string.format('%d', epoch), ARGV[at])
  names[#names + 1] = ARGV[at]
end
local many = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[3])
if many > 0 then
  local oldest = redis.call('ZRANGE', KEYS[2], 0, many - 1, 'WITHSCORES')
  redis.call('SET', KEYS[3], oldest[#oldest])
  redis.call('ZREMRANGEBYRANK', KEYS[2], 0, many - 1)
end
local told = { tenant = ARGV[2], previous = previous, epoch = epoch, names = names }
redis.call('PUBLISH', ARGV[1], cjson.encode(told))
return { string.format('%d', previous), string.format('%d', epoch) }
`

/**
 * Answers in a Redis that several gateways share. A tenant's keys have one hash tag, so that a cluster keeps them on one
 * node and an answer is read together with the tenant's epoch, in one round trip: when that is ahead of what this process
 * knows, what was invalidated in between is fetched before the answer is judged. So an answer from here is never older
 * than an invalidation that was acknowledged, whatever became of the message about it; messages only make the answers in
 * memory go at once.
 */
export class RedisLayer implements SharedLayer {
  private quietUntilMs = Number.NEGATIVE_INFINITY
  private readonly channel: string
  private subscribed = false
  /** By tenant: everything that was invalidated up to this epoch is known here. */
  private readonly synced = new Map<string, number>()

  constructor(private readonly parts: RedisLayerParts) {
    this.channel = `${parts.prefix}:cache:invalidated`
    this.listen()
  }

  async get(tenant: string, key: string): Promise<CachedAnswer | undefined> {
    if (this.isQuiet()) return undefined
    const { client } = this.parts
    const keys = this.keysOf(tenant)
    try {
      const [bytes, epochText] = await this.within(client.mgetBuffer(keys.answer(key), keys.epoch))
      const epoch = Number(epochText?.toString('latin1') ?? 0)
      if (epoch > this.syncedTo(tenant)) await this.catchUp(tenant, epoch)
      return bytes ? decodeAnswer(bytes) : undefined
    } catch {
      this.failed()
      return undefined
    }
  }

  async set(tenant: string, key: string, answer: CachedAnswer): Promise<void> {
    const lifeMs = Math.floor(usefulUntilMs(answer) - this.parts.clock.now())
    if (this.isQuiet() || lifeMs <= 0) return
    const { client } = this.parts
    try {
      await this.within(client.set(this.keysOf(tenant).answer(key), encodeAnswer(answer), 'PX', lifeMs))
    } catch {
      this.failed()
    }
  }

  async invalidate(tenant: string, names: readonly string[]): Promise<void> {
    const { client, invalidations, clock } = this.parts
    const { epoch, names: list, floor } = this.keysOf(tenant)
    const given = [this.channel, tenant, String(NAMES_MAX), ...names]
    try {
      const asked = client.eval(INVALIDATE, 3, epoch, list, floor, ...given)
      const [previous, now] = (await withinDeadline(clock, INVALIDATION_TIMEOUT_MS, asked)) as [
        string,
        string,
      ]
      this.apply({ tenant, previous: Number(previous), epoch: Number(now), names })
    } catch (cause) {
      this.failed()
      // Here it holds all the same; the next epoch of Redis must still come after it.
      invalidations.invalidate(tenant, names, invalidations.epoch(tenant) + LOCAL_STEP)
      const text = 'Other gateways may not have heard of it. Try again shortly.'
      const internal = `redis: ${String(cause)}`
      throw new HelixError('storage_unavailable', text, { cause, internal, retryAfterMs: PAUSE_MS })
    }
  }

  async stop(): Promise<void> {
    this.parts.subscriber.removeAllListeners('message')
    this.parts.subscriber.disconnect()
  }

  private async catchUp(tenant: string, epoch: number): Promise<void> {
    const { client, invalidations } = this.parts
    const keys = this.keysOf(tenant)
    const known = this.syncedTo(tenant)
    const [changed, floorText] = await Promise.all([
      this.within(client.zrange(keys.names, `(${known}`, '+inf', 'BYSCORE', 'WITHSCORES')),
      this.within(client.get(keys.floor)),
    ])
    const floor = Number(floorText ?? 0)
    if (floor > known) invalidations.distrust(tenant, floor)
    for (let at = 0; at + 1 < changed.length; at += 2)
      invalidations.invalidate(tenant, [changed[at] ?? ''], Number(changed[at + 1]))
    invalidations.invalidate(tenant, [], epoch)
    this.synced.set(tenant, Math.max(epoch, this.syncedTo(tenant)))
  }

  private listen(): void {
    const { subscriber, memory } = this.parts
    subscriber.on('message', (_channel: string, text: string) => this.heard(text))
    // What was said while nobody listened was missed: what memory holds may be old.
    subscriber.on('close', () => {
      if (this.subscribed) memory.clear()
      this.subscribed = false
    })
    subscriber.on('ready', () => void this.subscribe())
    if (subscriber.status === 'ready') void this.subscribe()
  }

  private async subscribe(): Promise<void> {
    const { subscriber, memory } = this.parts
    try {
      await subscriber.subscribe(this.channel)
      memory.clear()
      this.subscribed = true
    } catch {
      // The connection is gone again; it tells when it is back.
      this.failed()
    }
  }

  private heard(text: string): void {
    const told = JSON.parse(text) as Told
    // An empty table of Lua is an object.
    this.apply({ ...told, names: Array.isArray(told.names) ? told.names : [] })
  }

  private apply({ tenant, previous, epoch, names }: Told): void {
    this.parts.invalidations.invalidate(tenant, names, epoch)
    // With a gap before it, the next reading fetches what is missing.
    if (previous <= this.syncedTo(tenant)) this.synced.set(tenant, Math.max(epoch, this.syncedTo(tenant)))
  }

  private syncedTo(tenant: string): number {
    return this.synced.get(tenant) ?? 0
  }

  private keysOf(tenant: string) {
    const base = `${this.parts.prefix}:cache:{${tenant}}`
    return {
      epoch: `${base}:epoch`,
      names: `${base}:names`,
      floor: `${base}:floor`,
      answer: (key: string) => `${base}:answer:${key}`,
    }
  }

  private within<Result>(work: Promise<Result>): Promise<Result> {
    return withinDeadline(this.parts.clock, this.parts.timeoutMs, work)
  }

  private isQuiet(): boolean {
    return this.parts.clock.monotonic() < this.quietUntilMs
  }

  private failed(): void {
    this.quietUntilMs = this.parts.clock.monotonic() + PAUSE_MS
    this.parts.metrics.request('redis', 'failed')
  }
}

interface Told {
  readonly tenant: string
  /** The epoch before it. */
  readonly previous: number
  readonly epoch: number
  readonly names: readonly string[]
}

/** So small that no number of them is an epoch of Redis. */
const LOCAL_STEP = 2 ** -10

/** Somebody waits for the word that everybody has heard, and no request does. */
const INVALIDATION_TIMEOUT_MS = 1_000
