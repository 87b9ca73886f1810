import type { Clock } from '../core/clock.ts'
import type { RedisClient } from '../redis/connection.ts'
import { withinDeadline } from '../redis/deadline.ts'
import type { Share } from './share.ts'

export interface PeersOptions {
  readonly client: RedisClient
  readonly prefix: string
  /** Names this gateway; unique. */
  readonly id: string
  /** Gateways that there are at least, for one that has never heard of the others. */
  readonly gatewaysMin: number
  readonly clock: Clock
  readonly timeoutMs: number
}

const BEAT_MS = 1_000
/** A gateway that was not heard of for so long is gone. */
const LEASE_MS = 5_000

const BEAT = `
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[2]))
redis.call('PEXPIRE', KEYS[1], 10 * tonumber(ARGV[2]))
return redis.call('ZRANGE', KEYS[1], 0, -1)`

/**
 * How many gateways share a Redis, by leases in it. Without an answer the last one stands: who was there then still
 * takes its share.
 */
export class Peers {
  private known: Share
  private stopped = false
  private cancel = () => {}

  constructor(private readonly options: PeersOptions) {
    const gateways = Math.max(1, options.gatewaysMin)
    // The last place: it never gets what cannot be divided.
    this.known = { gateways, rank: gateways - 1 }
  }

  share(): Share {
    return this.known
  }

  /** Says that this gateway is alive and hears who else is; from then on every second. */
  async start(): Promise<void> {
    // Whoever decides about requests hears of a failure, and says so.
    await this.renew().catch(() => {})
    if (this.stopped) return
    this.cancel = this.options.clock.schedule(BEAT_MS, () => void this.start())
  }

  /** The others need not wait for its lease to end. */
  async stop(): Promise<void> {
    this.stopped = true
    this.cancel()
    const { client, clock, timeoutMs, id } = this.options
    await withinDeadline(clock, timeoutMs, client.zrem(this.key, id)).catch(() => {})
  }

  /** Renews the lease: a Redis that takes it runs scripts and can be written to. @throws what Redis answers else */
  async renew(): Promise<void> {
    const { client, clock, timeoutMs, id, gatewaysMin } = this.options
    const work = client.eval(BEAT, 1, this.key, id, LEASE_MS) as Promise<string[]>
    const ids = (await withinDeadline(clock, timeoutMs, work)).sort()
    this.known = { gateways: Math.max(ids.length, gatewaysMin), rank: Math.max(0, ids.indexOf(id)) }
  }

  private get key(): string {
    return `${this.options.prefix}:gateways`
  }
}
