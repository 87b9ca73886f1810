import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { RedisClient } from '../redis/connection.ts'
import { withinDeadline } from '../redis/deadline.ts'
import { Attendance } from './attendance.ts'
import { readReason } from './cancel-reason.ts'
import { abandon } from './memory-streams.ts'
import type { Outbox } from './outbox.ts'
import type { RedisChannels } from './redis-channels.ts'
import { SharedStream, type SharedStreamOwner } from './shared-stream.ts'
import type { Producer, RingStream } from './stream.ts'
import type { StreamKeys } from './stream-keys.ts'
import type { StreamScripts } from './stream-scripts.ts'
import type { Tombstones } from './tombstones.ts'

export interface ProducedStreamsParts {
  readonly client: RedisClient
  readonly scripts: StreamScripts
  readonly channels: RedisChannels
  readonly outbox: Outbox
  readonly gone: Tombstones
  readonly clock: Clock
  readonly timeoutMs: number
  /** Names this gateway. */
  readonly owner: string
  readonly lifeMs: number
  readonly keepMs: number
  readonly isAway: () => boolean
  /** Redis did not answer in time. */
  readonly failed: () => void
}

interface Produced {
  readonly shared: SharedStream
  readonly producer: Producer
  readonly attendance: Attendance
  cancelTimer: () => void
}

const RENEW_EVERY_MS = 60_000

/** The streams whose producer is at this gateway, until their time is over. */
export class ProducedStreams implements SharedStreamOwner {
  private readonly all = new Map<string, Produced>()
  /** Streams that Redis must not give to anybody, and may still have. */
  private readonly withdrawn = new Set<StreamKeys>()
  private cancelRenewal = () => {}

  constructor(private readonly parts: ProducedStreamsParts) {
    this.renewLater()
  }

  get producing(): number {
    return [...this.all.values()].filter(({ shared }) => !shared.stream.ended).length
  }

  /** From here on its events are made here. */
  begin(stream: RingStream, keys: StreamKeys, producer: Producer): SharedStream {
    const { outbox, isAway, clock } = this.parts
    const shared = new SharedStream({ stream, keys, outbox, isAway, owner: this })
    const attendance = new Attendance({
      clock,
      detachMs: stream.head.detachMs,
      elsewhere: () => this.isAttendedElsewhere(shared),
      abandon: () => abandon(producer),
    })
    const produced: Produced = { shared, producer, attendance, cancelTimer: () => {} }
    stream.watch({
      attended: (isAttended) => attendance.attended(isAttended),
      // What memory gives up Redis still has.
      read: () => {
        if (stream.head.kind === 'chat' && stream.readers <= 1 && shared.isShared) this.forget(produced)
      },
    })
    this.all.set(stream.head.id, produced)
    if (stream.readers > 0) attendance.attended(true)
    return shared
  }

  find(id: string): RingStream | undefined {
    return this.all.get(id)?.shared.stream
  }

  /** @returns false when there is none, or it has ended */
  cancel(id: string, reason: HelixError): boolean {
    const produced = this.all.get(id)
    if (!produced || produced.shared.stream.ended) return false
    produced.producer.cancel(reason)
    return true
  }

  /** Redis went, or is back. */
  away(isAway: boolean): void {
    for (const { shared } of this.all.values()) isAway ? shared.away() : shared.back()
    if (isAway) return
    for (const keys of [...this.withdrawn]) this.tellWithdrawn(keys)
  }

  stop(): void {
    this.cancelRenewal()
    for (const produced of this.all.values()) this.leave(produced)
  }

  ended({ stream }: SharedStream): void {
    const produced = this.all.get(stream.head.id)
    if (!produced) return
    produced.attendance.end()
    produced.cancelTimer = this.parts.clock.schedule(this.parts.keepMs, () => this.expire(produced))
  }

  moved({ stream }: SharedStream): void {
    const produced = this.all.get(stream.head.id)
    if (!produced) return
    this.leave(produced)
    produced.producer.cancel(new HelixError('engine_failed', 'Another gateway goes on with this stream.'))
    // All that was shown here is there; whoever asks again gets the rest.
    stream.lose('gap')
  }

  withdraw({ keys }: SharedStream): void {
    this.withdrawn.add(keys)
    if (!this.parts.isAway()) this.tellWithdrawn(keys)
  }

  async discard({ stream, keys }: SharedStream): Promise<void> {
    const produced = this.all.get(stream.head.id)
    if (produced) this.leave(produced)
    const { scripts, clock, timeoutMs, owner, failed } = this.parts
    const asked = scripts.hfStreamDiscard(keys.head, keys.events, owner)
    await withinDeadline(clock, timeoutMs, asked).catch(failed)
  }

  cancelled({ stream }: SharedStream, reason: string): void {
    this.cancel(stream.head.id, readReason(reason))
  }

  failed(): void {
    this.parts.failed()
  }

  private async isAttendedElsewhere({ keys, isShared }: SharedStream): Promise<boolean> {
    if (!isShared) return false
    const { scripts, clock, timeoutMs } = this.parts
    return (await withinDeadline(clock, timeoutMs, scripts.hfStreamAttended(keys.readers))) > 0
  }

  private tellWithdrawn(keys: StreamKeys): void {
    const { scripts, channels, owner } = this.parts
    const told = scripts.hfStreamWithdraw(keys.head, keys.events, owner, channels.verb, keys.channel)
    told.then(
      () => this.withdrawn.delete(keys),
      () => this.parts.failed(),
    )
  }

  private expire(produced: Produced): void {
    const { stream } = produced.shared
    this.forget(produced)
    stream.lose('expired')
    this.parts.gone.add(stream.head.id, stream.head.tenant)
  }

  private forget(produced: Produced): void {
    if (this.all.get(produced.shared.stream.head.id) === produced) this.leave(produced)
  }

  private leave(produced: Produced): void {
    produced.attendance.end()
    produced.cancelTimer()
    this.all.delete(produced.shared.stream.head.id)
  }

  /** A stream may wait for its turn, or think, for longer than Redis keeps what nobody touches. */
  private renewLater(): void {
    this.cancelRenewal = this.parts.clock.schedule(RENEW_EVERY_MS, () => {
      const { client, lifeMs, isAway } = this.parts
      for (const { shared } of this.all.values()) {
        if (isAway() || !shared.isShared || shared.stream.ended) continue
        for (const key of [shared.keys.head, shared.keys.events])
          client.pexpire(key, lifeMs).catch(() => this.parts.failed())
      }
      this.renewLater()
    })
  }
}
