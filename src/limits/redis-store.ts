import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Cluster, type RedisClient } from '../redis/connection.ts'
import { ScriptBatch } from './script-batch.ts'
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

interface Scripts {
  helixflowReserve(keys: 1, slot: string, nowMs: string | number, ...lines: string[]): Promise<string[]>
  helixflowSettle(keys: 1, slot: string, nowMs: string | number, ...lines: string[]): Promise<number[]>
  helixflowSeed(keys: 2, counter: string, open: string, spent: number, lifeMs: number): Promise<number>
}

/**
 * Counters that several gateways share: one script, and so one round trip, decides about all rules of a request at the
 * server's own time. Keys of one tenant share a slot of a cluster.
 */
export class RedisStore implements LimitStore {
  private readonly scripts: Scripts
  private readonly questions: ScriptBatch<string>
  private readonly settlements: ScriptBatch<number>

  constructor(private readonly options: RedisStoreOptions) {
    const { client } = options
    client.defineCommand('helixflowReserve', { lua: scriptOf('reserve') })
    client.defineCommand('helixflowSettle', { lua: scriptOf('settle') })
    client.defineCommand('helixflowSeed', { lua: scriptOf('seed') })
    // The client's types do not know what was just defined.
    this.scripts = client as unknown as Scripts
    this.questions = new ScriptBatch((slot, lines) => this.scripts.helixflowReserve(1, slot, '', ...lines))
    this.settlements = new ScriptBatch((slot, lines) => this.scripts.helixflowSettle(1, slot, '', ...lines))
  }

  async reserve(reservation: Reservation): Promise<Verdict> {
    return toVerdict(reservation.charges, await this.ask('reserve', reservation))
  }

  async settle(reservation: Reservation, costs: readonly number[]): Promise<void> {
    const { nowMs } = this.options
    const line = this.line('settle', reservation, costs)
    const slot = this.slot(reservation.tenant)
    if (nowMs) await this.scripts.helixflowSettle(1, slot, nowMs(), line)
    else await this.settlements.ask(slot, line)
  }

  async renew(reservations: readonly Reservation[]): Promise<void> {
    await Promise.all(reservations.map((one) => this.ask('renew', one)))
  }

  async seed(tenant: string, { key }: Charge, spent: number): Promise<void> {
    const base = this.base(tenant)
    await this.scripts.helixflowSeed(2, `${base}c:${key}`, `${base}open`, spent, BUDGET_LIFE_MS)
  }

  async peek(tenant: string, charges: readonly Charge[]): Promise<readonly Standing[]> {
    const question = { tenant, requestId: '-', charges, held: false }
    return toVerdict(charges, await this.ask('peek', question)).standings
  }

  private async ask(mode: string, reservation: Reservation): Promise<string> {
    const { nowMs } = this.options
    const line = this.line(mode, reservation)
    const slot = this.slot(reservation.tenant)
    if (!nowMs) return this.questions.ask(slot, line)
    const [answer = ''] = await this.scripts.helixflowReserve(1, slot, nowMs(), line)
    return answer
  }

  /** As the scripts read it. */
  private line(
    mode: string,
    { tenant, requestId, charges, held }: Reservation,
    costs?: readonly number[],
  ): string {
    const words: (string | number)[] = [mode, held ? RESERVATION_LIFE_MS : 0, this.base(tenant), requestId]
    for (let place = 0; place < charges.length; place++) {
      const { kind, key, limit, windowMs, burst, cost } = charges[place] as Charge
      words.push(kind, key, limit, windowMs, burst, cost)
      if (costs) words.push(costs[place] ?? 0)
    }
    return JSON.stringify(words)
  }

  private base(tenant: string): string {
    return `${this.options.prefix}:{${tenant}}:`
  }

  /** Outside of a cluster all keys are in one place, and tenants can share a call. */
  private slot(tenant: string): string {
    return this.options.client instanceof Cluster ? this.base(tenant) : this.options.prefix
  }
}

function scriptOf(name: string): string {
  const read = (file: string) => readFileSync(join(import.meta.dirname, 'lua', `${file}.lua`), 'utf8')
  return `${read('counters')}\n${read(name)}`
}

function toVerdict(charges: readonly Charge[], answer: string): Verdict {
  const [refused, wait, gathered, ...left] = answer.split(' ')
  const standings: Standing[] = []
  let unseeded = NONE
  for (let place = 0; place < charges.length; place++) {
    const remaining = left[2 * place]
    if (remaining === 'u') unseeded = [...unseeded, place]
    standings.push({
      remaining: remaining === 'u' ? 0 : Number(remaining ?? 0),
      resetMs: Number(left[2 * place + 1] ?? 0),
    })
  }
  return {
    refused: refused === '-1' ? undefined : Number(refused),
    waitMs: wait === '-1' ? Number.POSITIVE_INFINITY : Number(wait),
    standings,
    unseeded,
    gathered: gathered === '1',
  }
}

const NONE: readonly number[] = []
