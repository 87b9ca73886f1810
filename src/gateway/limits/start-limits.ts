import { randomUUID } from 'node:crypto'
import type { SpendClient } from '../../contracts/limits.ts'
import type { PoolClient } from '../../contracts/pool.ts'
import type { Clock } from '../../core/clock.ts'
import type { Logger } from '../../core/log.ts'
import type { Metrics } from '../../core/metrics.ts'
import { type LimitStoreOptions, openLimitStore } from '../../limits/limit-stores.ts'
import { Shaper } from '../../limits/shaper.ts'
import type { MeterOptions } from '../usage/meter.ts'
import { ContextLengths } from './context-lengths.ts'
import { LimitGate } from './limit-gate.ts'

export interface LimitParts {
  readonly redis: LimitStoreOptions['redis']
  /** Gateways that there are at least. */
  readonly gatewaysMin: number
  readonly outputTokens: number
  readonly spend: SpendClient
  readonly price: MeterOptions['price']
  readonly pool: Pick<PoolClient, 'watchReplicas'>
  readonly requestDeadlineMs: number
  readonly instance: string
  readonly clock: Clock
  readonly log: Logger
  readonly metrics: Metrics
}

/** The limits of one gateway, with the store that they are counted in. */
export async function startLimits(parts: LimitParts): Promise<{ gate: LimitGate; stop(): Promise<void> }> {
  const { pool, clock } = parts
  const contexts = new ContextLengths()
  const unwatch = pool.watchReplicas((replicas) => contexts.replace(replicas))
  let open = (): ReturnType<LimitGate['open']> => []
  const stores = await openLimitStore({
    ...parts,
    id: `${parts.instance}-${randomUUID()}`,
    running: () => open(),
  })
  const gate = new LimitGate({
    ...parts,
    store: stores.store,
    storeName: () => stores.name(),
    shaper: new Shaper(clock),
    contextLength: (model) => contexts.of(model),
  })
  open = () => gate.open()
  const stop = async () => {
    unwatch()
    gate.stop()
    await stores.stop()
  }
  return { gate, stop }
}
