import { toReplicaMessage } from '../contracts/pool-messages.ts'
import type { SlotUse } from '../contracts/pool-service.ts'
import { pushedLatest } from '../contracts/pushed.ts'
import { toWhole } from '../contracts/wire-values.ts'
import type { Clock } from '../core/clock.ts'
import type { GatewayTables, ReplicaTable } from './gateway-tables.ts'

export interface WatchTableRequest {
  readonly tables: GatewayTables
  /** Nothing is shown before it resolves. */
  readonly ready: Promise<void>
  readonly gateway: string
  /** What it has in use from an earlier leader or connection. */
  readonly uses: readonly SlotUse[]
  readonly signal: AbortSignal
  readonly clock: Clock
}

/** A gateway that hears nothing for three of these looks for another pool. */
const BEAT_MS = 1_000

/** The gateway's table and each later one; in between a beat that says that the pool is there. */
export async function* watchTable({ tables, ready, gateway, uses, signal, clock }: WatchTableRequest) {
  let sent = -1
  let latest: ReplicaTable = { version: -1, replicas: [] }
  const subscribe = (push: (beat: true) => void) => {
    let end = () => {}
    let isOver = false
    void ready.then(() => {
      if (isOver) return
      end = tables.watch(gateway, uses, (table) => {
        latest = table
        push(true)
      })
    })
    let cancel = () => {}
    const beat = () => {
      push(true)
      cancel = clock.schedule(BEAT_MS, beat)
    }
    cancel = clock.schedule(BEAT_MS, beat)
    return () => {
      isOver = true
      cancel()
      end()
    }
  }
  for await (const _ of pushedLatest(subscribe, signal)) {
    if (latest.version === sent) {
      yield {}
      continue
    }
    sent = latest.version
    yield { table: { version: toWhole(latest.version), replicas: latest.replicas.map(toReplicaMessage) } }
  }
}
