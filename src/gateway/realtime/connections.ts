import type { Config } from '../../config/schema.ts'
import type { Clock } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'
import type { Logger } from '../../core/log.ts'
import type { Metrics } from '../../core/metrics.ts'
import type { Random } from '../../core/random.ts'
import { CLOSE } from './close-codes.ts'
import type { Connection, Hub } from './connection.ts'
import { PING_FRAME, SharedFrames } from './frames.ts'
import { SWEEP_MS } from './pulse.ts'
import { Tally } from './tally.ts'

export interface ConnectionsParts {
  readonly times: Pick<Config['realtime'], 'heartbeat' | 'heartbeatTimeout' | 'idle' | 'age'>
  readonly clock: Clock
  readonly random: Random
  readonly metrics: Metrics
  readonly log: Logger
  /** Streams that are made here. */
  readonly streaming: () => number
}

/** Connections are told so long before their age ends them, or a tenth of their age. */
const AGE_NOTICE_MS = 30_000
/** Clients that were told to come back do so within this time, spread evenly. */
const RECONNECT_WITHIN_MS = 5_000
const AGE_JITTER = 1 / 12
const CLOSES_PER_SECOND = 150
const DRAIN_BEAT_MS = 20

/** All sockets of this gateway: one sweep looks at their time, one turn of the loop sends for all of them. */
export class Connections implements Hub {
  readonly frames = new SharedFrames()
  readonly tally: Tally
  readonly clock: Clock
  private readonly all = new Set<Connection>()
  private readonly perKey = new Map<string, number>()
  private touched = new Set<Connection>()
  private isScheduled = false
  private cancelSweep = () => {}

  constructor(private readonly parts: ConnectionsParts) {
    this.clock = parts.clock
    this.tally = new Tally(parts.metrics)
    parts.metrics.set('helixflow_ws_connections', {}, 0)
    this.sweepLater()
  }

  get size(): number {
    return this.all.size
  }

  [Symbol.iterator](): IterableIterator<Connection> {
    return this.all.values()
  }

  /** Connections that are counted under that name. */
  count(name: string): number {
    return this.perKey.get(name) ?? 0
  }

  add(connection: Connection): void {
    const { countedAs } = connection.opened
    this.all.add(connection)
    this.perKey.set(countedAs, this.count(countedAs) + 1)
    this.parts.metrics.set('helixflow_ws_connections', {}, this.all.size)
  }

  /** @param code with which the client closed it */
  remove(connection: Connection, code: number): void {
    if (!this.all.delete(connection)) return
    const { countedAs } = connection.opened
    const left = this.count(countedAs) - 1
    if (left > 0) this.perKey.set(countedAs, left)
    else this.perKey.delete(countedAs)
    this.touched.delete(connection)
    this.tally.closed(connection.closedWith ?? code)
    this.parts.metrics.set('helixflow_ws_connections', {}, this.all.size)
    connection.gone()
  }

  /** It has something to send at the end of this turn of the loop. */
  touch(connection: Connection): void {
    this.touched.add(connection)
    if (this.isScheduled) return
    this.isScheduled = true
    setImmediate(() => this.flush())
  }

  /** Not all that were opened together end together. */
  endOfAgeMs(): number {
    const { clock, random, times } = this.parts
    return clock.monotonic() + times.age * (1 + random.uniform() * AGE_JITTER)
  }

  /** Sends all of them away, those that follow a stream after its end. Resolves when none is left, or at the deadline. */
  async drain(deadlineMs: number): Promise<void> {
    const { clock } = this.parts
    const endMs = clock.monotonic() + deadlineMs
    for (const connection of this.all) this.sayLeaving(connection, deadlineMs)
    while (this.all.size > 0 && clock.monotonic() < endMs) {
      this.closeSome(Math.ceil((CLOSES_PER_SECOND * DRAIN_BEAT_MS) / 1_000))
      await new Promise<void>((resolve) => clock.schedule(DRAIN_BEAT_MS, resolve))
    }
  }

  /** Closes all that are left, and waits until they are gone. */
  async stop(): Promise<void> {
    this.cancelSweep()
    for (const connection of this.all) connection.close(CLOSE.restart, 'server_draining')
    while (this.all.size > 0)
      await new Promise<void>((resolve) => this.parts.clock.schedule(DRAIN_BEAT_MS, resolve))
    this.tally.flush()
  }

  private flush(): void {
    this.isScheduled = false
    const { touched } = this
    this.touched = new Set()
    for (const connection of touched) this.guard(connection, () => connection.flush())
    this.frames.clear()
  }

  /** What goes wrong with one connection ends that one, and no other. */
  guard(connection: Connection, work: () => void): void {
    try {
      work()
    } catch (reason) {
      this.parts.log.error('connection failed', { cause: HelixError.from(reason).message })
      connection.close(CLOSE.bug, 'internal_error')
    }
  }

  private closeSome(most: number): void {
    let left = most
    for (const connection of this.all) {
      if (left === 0) return
      if (!connection.isOpen || connection.isAsking || (connection.spokenBy?.streams ?? 0) > 0) continue
      connection.close(CLOSE.restart, 'server_draining')
      left--
    }
  }

  private sayLeaving(connection: Connection, deadlineMs: number): void {
    const reconnectAfterMs = Math.floor(this.parts.random.uniform() * RECONNECT_WITHIN_MS)
    connection.spokenBy?.leaving({ deadlineMs: Math.max(0, Math.round(deadlineMs)), reconnectAfterMs })
  }

  private sweepLater(): void {
    this.cancelSweep = this.parts.clock.schedule(SWEEP_MS, () => {
      this.sweepLater()
      this.sweep(this.parts.clock.monotonic())
    })
  }

  private sweep(nowMs: number): void {
    let unsentBytes = 0
    let attached = 0
    for (const connection of this.all) {
      unsentBytes += connection.unsentBytes
      attached += connection.spokenBy?.streams ?? 0
      if (connection.isOpen) this.look(connection, nowMs)
    }
    const { metrics, streaming } = this.parts
    metrics.set('helixflow_ws_buffered_bytes', {}, unsentBytes)
    metrics.set('helixflow_streams', { state: 'attached' }, attached)
    metrics.set('helixflow_streams', { state: 'producing' }, streaming())
    this.tally.flush()
  }

  private look(connection: Connection, nowMs: number): void {
    const { heartbeat: heartbeatMs, heartbeatTimeout: answerMs } = this.parts.times
    const times = { heartbeatMs, answerMs }
    const finding = connection.pulse.check(nowMs, times, connection.ws.isPaused)
    if (finding === 'stuck') connection.close(CLOSE.overload, 'slow_consumer')
    else if (finding === 'dead') connection.ws.terminate()
    else if (finding === 'ask') connection.send(PING_FRAME)
    if (!connection.isOpen) return
    connection.spokenBy?.tick(nowMs)
    this.watchAge(connection, nowMs)
    this.watchIdle(connection, nowMs)
  }

  private watchAge(connection: Connection, nowMs: number): void {
    const leftMs = connection.pulse.endMs - nowMs
    const noticeMs = Math.min(AGE_NOTICE_MS, this.parts.times.age / 10)
    // Also when the time for it has passed: nobody is closed without a word.
    if (leftMs <= noticeMs && !connection.pulse.isToldOfAge) {
      connection.pulse.isToldOfAge = true
      this.sayLeaving(connection, leftMs)
    }
    if (leftMs <= 0) connection.close(CLOSE.leaving, 'age')
  }

  private watchIdle(connection: Connection, nowMs: number): void {
    if (connection.isAsking || connection.spokenBy?.busy) connection.pulse.idleSinceMs = nowMs
    else if (nowMs - connection.pulse.idleSinceMs >= this.parts.times.idle)
      connection.close(CLOSE.leaving, 'idle')
  }
}
