import type { Clock } from '../core/clock.ts'
import type { RedisClient } from '../redis/connection.ts'
import { withinDeadline } from '../redis/deadline.ts'
import type { RedisChannels } from './redis-channels.ts'

export interface GatewayLeaseParts {
  readonly client: RedisClient
  readonly channels: RedisChannels
  readonly prefix: string
  /** Names this gateway; unique, also over its restarts. */
  readonly id: string
  readonly clock: Clock
  readonly timeoutMs: number
  /** Told when Redis stops answering, with true, and when it answers again. */
  readonly onAway: (isAway: boolean) => void
}

const BEAT_MS = 1_000
const BEAT_AWAY_MS = 100
/** A gateway that was not heard of for so long is gone, or cut off. */
const LEASE_MS = 3_000

/** Says that this gateway lives, hears whether others do, and so knows whether Redis can be used. */
export class GatewayLease {
  /** Until the first beat has arrived. */
  away = true
  private stopped = false
  private cancel = () => {}
  private readonly asked = new Map<string, { readonly atMs: number; readonly answer: Promise<boolean> }>()

  constructor(private readonly parts: GatewayLeaseParts) {}

  /** Says it, and from then on every second. */
  async start(): Promise<void> {
    const { client, channels, clock, timeoutMs, id } = this.parts
    try {
      await channels.prepare()
      await withinDeadline(clock, timeoutMs, client.set(this.key(id), 1, 'PX', LEASE_MS))
      this.hears(true)
    } catch {
      this.hears(false)
    }
    if (this.stopped) return
    this.cancel = clock.schedule(this.away ? BEAT_AWAY_MS : BEAT_MS, () => void this.start())
  }

  /** Redis did not answer somebody in time. */
  failed(): void {
    if (this.stopped || this.away) return
    this.hears(false)
    this.cancel()
    this.cancel = this.parts.clock.schedule(BEAT_AWAY_MS, () => void this.start())
  }

  /** Whether another gateway lives, as far as Redis knows. @throws when Redis does not answer */
  isAlive(id: string): Promise<boolean> {
    const { client, clock, timeoutMs } = this.parts
    const known = this.asked.get(id)
    if (known && clock.monotonic() - known.atMs < BEAT_MS / 2) return known.answer
    const answer = withinDeadline(clock, timeoutMs, client.exists(this.key(id))).then((found) => found > 0)
    this.asked.set(id, { atMs: clock.monotonic(), answer })
    const forget = () => this.asked.delete(id)
    answer.then(() => clock.schedule(BEAT_MS, forget), forget)
    return answer
  }

  /** Others need not wait for the lease to end. */
  async stop(): Promise<void> {
    this.stopped = true
    this.cancel()
    const { client, clock, timeoutMs, id } = this.parts
    if (!this.away) await withinDeadline(clock, timeoutMs, client.del(this.key(id))).catch(() => {})
  }

  private hears(answers: boolean): void {
    if (this.away === !answers) return
    this.away = !answers
    this.parts.onAway(this.away)
  }

  private key(id: string): string {
    return `${this.parts.prefix}:streams:gateway:${id}`
  }
}
