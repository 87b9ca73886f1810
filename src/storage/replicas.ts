import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import { ConnectionPool, type ConnectionPoolOptions, type PostgresConnection } from './connection-pool.ts'
import { Replica } from './replica.ts'
import { type LogPosition, PrimaryHistory, positionNumber } from './replica-lag.ts'
import type { Session } from './session.ts'

/** How often primary and replicas are asked where they are; a silent one is out after as long again. */
const PROBE_INTERVAL_MS = 500

/**
 * Which replica may serve a read. A replica is asked for its place in the log unless that is known to be far enough, so
 * a read sees every write of this process before it, and every one whose position it was given. Where no replica will
 * do, the primary does.
 */
export class Replicas {
  private readonly replicas: readonly Replica[]
  private readonly primaryProbe: ConnectionPool
  private readonly history = new PrimaryHistory()
  private readonly clock: Clock
  private readonly log: Logger
  /** Undefined before the primary was first heard: by then everything older than this process is behind it. */
  private lastWrite: bigint | undefined
  private lastWriteText: LogPosition | undefined
  /** Writes whose place was not learned, because the connection was lost behind them. */
  private lostWrites = 0
  private turn = 0
  private stopped = false
  private cancelProbe = () => {}
  private probing: Promise<void>

  constructor(
    primary: PostgresConnection | string,
    replicas: readonly (PostgresConnection | string)[],
    options: ConnectionPoolOptions,
  ) {
    this.clock = options.clock
    this.log = options.log
    // Not of the connections that callers share: a busy pool is no sign of a lagging replica.
    const probeOptions = {
      connectionsMax: 1,
      acquireTimeoutMs: PROBE_INTERVAL_MS,
      queryTimeoutMs: PROBE_INTERVAL_MS,
      log: options.log,
      clock: options.clock,
    }
    this.primaryProbe = new ConnectionPool(primary, probeOptions)
    this.replicas = replicas.map((connection) => new Replica(connection, options, probeOptions))
    this.probing = this.probe()
  }

  /** Where the last write of this process stands, as far as it is known. */
  get position(): LogPosition | undefined {
    return this.lastWriteText
  }

  /**
   * To be called on the primary's connection when a write is done. Never fails: a write that happened is not undone by
   * not knowing where.
   */
  async noteWrite(session: Session): Promise<void> {
    try {
      this.notePosition(await primaryPosition(session))
    } catch {
      this.noteLostWrite()
    }
  }

  /** Until the primary is heard again, it is not known what a replica must have. */
  noteLostWrite(): void {
    this.lostWrites += 1
    this.lastWrite = undefined
  }

  /** What a replica answered, or undefined where the primary must be asked. @throws what `read` throws */
  async tryRead<Result>(
    read: (session: Session) => Promise<Result>,
    after: LogPosition | undefined,
  ): Promise<{ readonly result: Result } | undefined> {
    if (this.lastWrite === undefined) return undefined
    const given = after === undefined ? 0n : positionNumber(after)
    const needed = given > this.lastWrite ? given : this.lastWrite
    const usable = this.replicas.filter((replica) => replica.isUsable())
    this.turn += 1
    return usable[this.turn % usable.length]?.tryRead(read, needed)
  }

  async close(): Promise<void> {
    this.stopped = true
    this.cancelProbe()
    await this.probing
    await Promise.all([this.primaryProbe.close(), ...this.replicas.map((replica) => replica.close())])
  }

  private notePosition(text: LogPosition): void {
    const position = positionNumber(text)
    if (this.lastWrite !== undefined && position <= this.lastWrite) return
    this.lastWrite = position
    this.lastWriteText = text
  }

  private async probe(): Promise<void> {
    await this.probePrimary()
    await Promise.all(this.replicas.map((replica) => replica.probe(this.history)))
    if (this.stopped) return
    this.cancelProbe = this.clock.schedule(PROBE_INTERVAL_MS, () => {
      this.probing = this.probe()
    })
  }

  private async probePrimary(): Promise<void> {
    const { lostWrites } = this
    const atMs = this.clock.monotonic()
    try {
      const text = await this.primaryProbe.withSession(primaryPosition)
      this.history.add(positionNumber(text), atMs)
      // A write that was lost while the answer was on its way may lie behind it.
      if (this.lastWrite === undefined && lostWrites === this.lostWrites) this.notePosition(text)
    } catch (reason) {
      this.log.debug('the primary does not say where it is', { cause: HelixError.from(reason).message })
    }
  }
}

async function primaryPosition(session: Session): Promise<LogPosition> {
  // Not the place up to which it is flushed, which a commit that waits for no disk has not reached.
  const [row] = await session.query<{ position: LogPosition }>(
    'select pg_current_wal_insert_lsn() as position',
  )
  return row?.position ?? '0/0'
}
