import { randomUUID } from 'node:crypto'
import { parseConfig } from '../../src/config/schema.ts'
import { silentLog } from '../../src/core/log.ts'
import type { BudgetFallback } from '../../src/limits/budget-fallback.ts'
import { Peers } from '../../src/limits/peers.ts'
import { RedisStore } from '../../src/limits/redis-store.ts'
import { ResilientStore } from '../../src/limits/resilient-store.ts'
import type { Charge, Reservation, Verdict } from '../../src/limits/store.ts'
import { openRedis, type RedisConnection } from '../../src/redis/connection.ts'
import { systemClock } from '../../src/system.ts'

const TIMEOUT_MS = 25

/** The limits of one gateway as it has them, without the gateway. */
export class Limiter {
  granted = 0
  refused = 0
  /** Anything but a verdict. */
  readonly failures: unknown[] = []
  readonly outages: boolean[] = []
  readonly running = new Map<string, Reservation>()
  private refreshing: NodeJS.Timeout | undefined

  private constructor(
    readonly redis: RedisConnection,
    readonly peers: Peers,
    readonly store: ResilientStore,
  ) {}

  static async start(
    settings: { readonly urls: readonly string[]; readonly mode?: string; readonly sentinelName?: string },
    prefix: string,
    timeoutMs = TIMEOUT_MS,
  ): Promise<Limiter> {
    const redis = openRedis(parseConfig({ redis: settings }).redis, silentLog)
    const { client } = redis
    while (client.status !== 'ready') await new Promise((resolve) => client.once('ready', resolve))
    const id = randomUUID()
    const common = { client, prefix, clock: systemClock, timeoutMs }
    const peers = new Peers({ ...common, id, gatewaysMin: 1 })
    await peers.start()
    const store: ResilientStore = new ResilientStore({
      ...common,
      shared: new RedisStore({ client, prefix, id }),
      probe: () => peers.renew(),
      share: () => peers.share(),
      budgets: noBudgets,
      id,
      running: () => [...limiter.running.values()],
      log: silentLog,
      onOutage: (away) => limiter.outages.push(away),
    })
    const limiter = new Limiter(redis, peers, store)
    limiter.refreshing = setInterval(() => void store.refresh(), 1_000)
    return limiter
  }

  /** One request; its verdict is counted. Where it is held, `settle` is to follow. */
  async ask(
    charges: readonly Charge[],
    held = false,
  ): Promise<{ verdict?: Verdict; reservation: Reservation }> {
    const reservation = { tenant: 'org_a', requestId: randomUUID(), charges, held }
    try {
      const verdict = await this.store.reserve(reservation)
      if (verdict.refused === undefined) this.granted++
      else this.refused++
      if (held && verdict.refused === undefined) this.running.set(reservation.requestId, reservation)
      return { verdict, reservation }
    } catch (reason) {
      this.failures.push(reason)
      return { reservation }
    }
  }

  async settle(reservation: Reservation, costs: readonly number[]): Promise<void> {
    this.running.delete(reservation.requestId)
    await this.store.settle(reservation, costs)
  }

  async stop(): Promise<void> {
    clearInterval(this.refreshing)
    this.store.stop()
    await this.peers.stop()
    await this.redis.stop()
  }
}

const noBudgets: BudgetFallback = {
  reserve: async () => {
    throw new Error('no budget was expected here')
  },
  release: () => {},
}
