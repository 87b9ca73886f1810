import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { RedisClient } from '../redis/connection.ts'
import {
  type Charge,
  type LimitStore,
  RESERVATION_LIFE_MS,
  type Reservation,
  type Standing,
  type Verdict,
} from './store.ts'

export interface RedisStoreOptions {
  readonly client: RedisClient
  /** Begins every key. */
  readonly prefix: string
  /** Instead of the server's own clock; for the suite that compares stores on given arrivals. */
  readonly nowMs?: (() => number) | undefined
}

/** A budget outlives its period, so that what is settled late finds it; then it is of no use. */
const BUDGET_LIFE_MS = 40 * 86_400_000

type Script = (...parts: (string | number)[]) => Promise<(number | null)[]>
type SmallScript = (...parts: (string | number)[]) => Promise<number>

interface Scripts {
  readonly helixflowReserve: Script
  readonly helixflowSettle: SmallScript
  readonly helixflowSeed: SmallScript
}

/**
 * Counters that several gateways share: one script, and so one round trip, decides about all rules of a request at the
 * server's own time. Keys of one tenant share a slot of a cluster.
 */
export class RedisStore implements LimitStore {
  private readonly scripts: Scripts

  constructor(private readonly options: RedisStoreOptions) {
    const { client } = options
    client.defineCommand('helixflowReserve', { lua: scriptOf('reserve') })
    client.defineCommand('helixflowSettle', { lua: scriptOf('settle') })
    client.defineCommand('helixflowSeed', { lua: scriptOf('seed') })
    // The client's types do not know what was just defined.
    this.scripts = client as unknown as Scripts
  }

  async reserve(reservation: Reservation): Promise<Verdict> {
    const [refused, waitMs, gathered, ...left] = await this.run('reserve', reservation)
    const { charges } = reservation
    return {
      refused: refused === -1 ? undefined : (refused ?? 0),
      waitMs: waitMs === -1 ? Number.POSITIVE_INFINITY : (waitMs ?? 0),
      standings: standingsOf(charges, left),
      unseeded: charges.flatMap((_, place) => (left[2 * place] === null ? [place] : [])),
      gathered: gathered === 1,
    }
  }

  async settle({ tenant, requestId }: Reservation, costs: readonly number[]): Promise<void> {
    const keys = [this.recordKey(tenant, requestId), this.openKey(tenant)]
    await this.scripts.helixflowSettle(keys.length, ...keys, this.options.nowMs?.() ?? '', ...costs)
  }

  async renew(reservations: readonly Reservation[]): Promise<void> {
    await Promise.all(reservations.map((one) => this.run('renew', one)))
  }

  async seed(tenant: string, charge: Charge, spent: number): Promise<void> {
    const keys = [this.counterKey(tenant, charge), this.openKey(tenant)]
    await this.scripts.helixflowSeed(keys.length, ...keys, spent, BUDGET_LIFE_MS)
  }

  async peek(tenant: string, charges: readonly Charge[]): Promise<readonly Standing[]> {
    const answer = await this.run('peek', { tenant, requestId: '', charges, held: false })
    return standingsOf(charges, answer.slice(3))
  }

  private run(mode: string, { tenant, requestId, charges, held }: Reservation): Promise<(number | null)[]> {
    const parts: (string | number)[] = [
      charges.length + 2,
      this.recordKey(tenant, requestId),
      this.openKey(tenant),
    ]
    for (const charge of charges) parts.push(this.counterKey(tenant, charge))
    parts.push(mode, requestId, this.options.nowMs?.() ?? '', held ? RESERVATION_LIFE_MS : 0)
    for (const { kind, limit, windowMs, burst, cost } of charges)
      parts.push(kind, limit, windowMs, burst, cost)
    return this.scripts.helixflowReserve(...parts)
  }

  private counterKey(tenant: string, { key }: Charge): string {
    return `${this.options.prefix}:{${tenant}}:c:${key}`
  }

  private recordKey(tenant: string, requestId: string): string {
    return `${this.options.prefix}:{${tenant}}:r:${requestId}`
  }

  private openKey(tenant: string): string {
    return `${this.options.prefix}:{${tenant}}:open`
  }
}

function scriptOf(name: string): string {
  const read = (file: string) => readFileSync(join(import.meta.dirname, 'lua', `${file}.lua`), 'utf8')
  return `${read('counters')}\n${read(name)}`
}

function standingsOf(charges: readonly Charge[], left: readonly (number | null)[]): readonly Standing[] {
  return charges.map((_, place) => ({
    remaining: left[2 * place] ?? 0,
    resetMs: left[2 * place + 1] ?? 0,
  }))
}
