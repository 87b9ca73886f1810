import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/log.ts'
import type { LeaderConnection } from './leader-connection.ts'
import { toUseMessage } from './pool-messages.ts'
import type { SlotUse } from './pool-service.ts'
import type { ReplicaWatch } from './replica-watch.ts'

export interface UseReportsParts {
  readonly gateway: string
  readonly connection: Pick<LeaderConnection, 'call'>
  readonly table: () => Pick<ReplicaWatch, 'replicas' | 'version'>
  readonly timeoutMs: number
  readonly clock: Clock
  readonly log: Logger
}

/** Requests begin and end by the hundred a second; whoever waits for a share waits this much longer. */
const COLLECT_MS = 20

/** Tells the pool what this gateway uses of each replica, one report after the other. */
export class UseReports {
  private readonly inUse = new Map<string, number>()
  private readonly changed = new Set<string>()
  /** Replicas of the table before: of one that is in it no more, too, it must be said how much is in use. */
  private shown: readonly string[] = []
  private readonly stopping = new AbortController()
  private cancel: (() => void) | undefined
  private isSending = false

  constructor(private readonly parts: UseReportsParts) {}

  report(replicaId: string, inUse: number): void {
    if (inUse > 0) this.inUse.set(replicaId, inUse)
    else this.inUse.delete(replicaId)
    this.changed.add(replicaId)
    this.soon()
  }

  /** What the table says is abided by from now on. */
  confirm(): void {
    const present = this.parts.table().replicas.map(({ id }) => id)
    for (const id of [...this.shown, ...present]) this.changed.add(id)
    this.shown = present
    this.soon()
  }

  all(): readonly SlotUse[] {
    const ids = new Set([...this.parts.table().replicas.map(({ id }) => id), ...this.inUse.keys()])
    return [...ids].map((id) => this.useOf(id))
  }

  stop(): void {
    this.stopping.abort()
    this.cancel?.()
  }

  private soon(): void {
    if (this.cancel || this.isSending || this.changed.size === 0) return
    this.cancel = this.parts.clock.schedule(COLLECT_MS, () => void this.send())
  }

  private async send(): Promise<void> {
    const { gateway, connection, timeoutMs, log } = this.parts
    this.cancel = undefined
    this.isSending = true
    const ids = [...this.changed]
    this.changed.clear()
    const uses = ids.map((id) => toUseMessage(this.useOf(id)))
    const version = BigInt(this.parts.table().version)
    try {
      // Without patience: who leads next is told all, when it is asked for its table.
      await connection.call((client, options) => client.reportUse({ gateway, uses, version }, options), {
        ...{ signal: this.stopping.signal, patienceMs: 0, timeoutMs },
      })
    } catch (reason) {
      log.debug('use not reported', { cause: String(reason) })
    }
    this.isSending = false
    if (!this.stopping.signal.aborted) this.soon()
  }

  private useOf(replicaId: string): SlotUse {
    const share = this.parts.table().replicas.find(({ id }) => id === replicaId)
    return { replicaId, inUse: this.inUse.get(replicaId) ?? 0, slots: share?.slots ?? 0 }
  }
}
