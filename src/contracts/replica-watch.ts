import { type Clock, delay } from '../core/clock.ts'
import type { Logger } from '../core/log.ts'
import type { Leader, LeaderConnection } from './leader-connection.ts'
import type { Replica } from './pool.ts'
import { fromReplicaMessage, toUseMessage } from './pool-messages.ts'
import type { SlotUse } from './pool-service.ts'

export interface ReplicaWatchParts {
  readonly gateway: string
  readonly connection: LeaderConnection
  /** What this gateway has in use, for a pool that does not know yet. */
  readonly uses: () => readonly SlotUse[]
  readonly clock: Clock
  readonly log: Logger
}

/** The pool says something every second; one that is silent for so long stands still, or its machine is cut off. */
const SILENCE_MAX_MS = 3_000
const RETRY_DELAY_MIN_MS = 50
const RETRY_DELAY_MAX_MS = 1_000

/** The table of replicas as the pool told it last. While no pool leads it stays as it is: what is ready is used. */
export class ReplicaWatch {
  replicas: readonly Replica[] = []
  /** Of the latest table; 0 before the first. */
  version = 0
  private readonly listeners = new Set<(replicas: readonly Replica[]) => void>()
  private readonly stopping = new AbortController()
  private running: Promise<void> | undefined

  constructor(private readonly parts: ReplicaWatchParts) {}

  /** Calls back at once with the present table and after each new one. Returns what ends it. */
  subscribe(listener: (replicas: readonly Replica[]) => void): () => void {
    this.running ??= this.run()
    this.listeners.add(listener)
    listener(this.replicas)
    return () => this.listeners.delete(listener)
  }

  async stop(): Promise<void> {
    this.stopping.abort()
    await this.running
  }

  private async run(): Promise<void> {
    const { connection, clock, log } = this.parts
    const { signal } = this.stopping
    for (let failures = 0; !signal.aborted; failures++) {
      try {
        const leader = await connection.leader()
        await this.read(leader, () => {
          failures = 0
        })
        connection.drop(leader)
      } catch (reason) {
        if (!signal.aborted) log.warn('not hearing of replicas', { failures, cause: String(reason) })
      }
      const waitMs = Math.min(RETRY_DELAY_MAX_MS, RETRY_DELAY_MIN_MS * 2 ** failures)
      // Rejects only when this watch is stopped, which the loop sees.
      await delay(clock, waitMs, signal).catch(() => {})
    }
  }

  private async read(leader: Leader, onHeard: () => void): Promise<void> {
    const { gateway, uses, clock, connection } = this.parts
    const silent = () => connection.drop(leader)
    let cancel = clock.schedule(SILENCE_MAX_MS, silent)
    const request = { gateway, uses: uses().map(toUseMessage) }
    const signal = AbortSignal.any([this.stopping.signal, leader.gone])
    try {
      for await (const { table } of leader.client.watchReplicas(request, { signal })) {
        cancel()
        cancel = clock.schedule(SILENCE_MAX_MS, silent)
        onHeard()
        if (!table) continue
        this.version = Number(table.version)
        this.replicas = table.replicas.map(fromReplicaMessage)
        for (const listener of this.listeners) listener(this.replicas)
      }
    } finally {
      cancel()
      connection.drop(leader)
    }
  }
}
