import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Cluster, type RedisClient } from '../redis/connection.ts'
import { ScriptBatch } from './script-batch.ts'
import { type Line, MODES, type Mode, type ScriptCall } from './script-call.ts'
import {
  type Charge,
  type LimitStore,
  RESERVATION_LIFE_MS,
  type Reservation,
  type Standing,
  type Verdict,
} from './store.ts'

/** Of the values; gateways that write another one do not read these. */
const FORMAT = 'limits2'

export interface RedisStoreOptions {
  readonly client: RedisClient
  /** Begins every key. */
  readonly prefix: string
  /** Names this store; unlike any other of that prefix. */
  readonly id: string
  /** Instead of the server's own clock; for the suite that compares stores on given arrivals. */
  readonly nowMs?: (() => number) | undefined
}

/** A budget outlives its period, so that what is settled late finds it; then it is of no use. */
const BUDGET_LIFE_MS = 40 * 86_400_000

interface Scripts {
  helixflowDecideBuffer(count: number, ...keysAndWords: string[]): Promise<Buffer>
  helixflowSeed(counter: string, open: string, spent: number, lifeMs: number): Promise<number>
}

/**
 * Counters that several gateways share: one script, and so one round trip, decides about all rules of a request at the
 * server's own time. Keys of one tenant share a slot of a cluster.
 */
export class RedisStore implements LimitStore {
  private readonly scripts: Scripts
  private readonly batch: ScriptBatch

  constructor(private readonly options: RedisStoreOptions) {
    const { client, id, nowMs } = options
    client.defineCommand('helixflowDecide', { lua: scriptOf('decide') })
    client.defineCommand('helixflowSeed', { lua: scriptOf('seed'), numberOfKeys: 2 })
    // The client's types do not know what was just defined.
    this.scripts = client as unknown as Scripts
    const run = (call: ScriptCall) =>
      this.scripts.helixflowDecideBuffer(call.keys.length, ...call.keys, ...call.words())
    this.batch = new ScriptBatch({ run, id, nowMs })
  }

  reserve(reservation: Reservation): Promise<Verdict> {
    return this.ask(reservation, reservation.held ? MODES.reserveHeld : MODES.reserve)
  }

  async settle(reservation: Reservation, costs: readonly number[]): Promise<void> {
    await this.ask(reservation, reservation.held ? MODES.settleHeld : MODES.settle, costs)
  }

  async renew(reservations: readonly Reservation[]): Promise<void> {
    await Promise.all(reservations.map((one) => this.ask(one, one.held ? MODES.renewHeld : MODES.renew)))
  }

  async seed(tenant: string, { key }: Charge, spent: number): Promise<void> {
    const base = this.base(tenant)
    await this.scripts.helixflowSeed(`${base}c:${key}`, `${base}open`, spent, BUDGET_LIFE_MS)
  }

  async peek(tenant: string, charges: readonly Charge[]): Promise<readonly Standing[]> {
    const question = { tenant, requestId: '', charges, held: false }
    return (await this.ask(question, MODES.peek)).standings
  }

  private ask(reservation: Reservation, mode: Mode, costs?: readonly number[]): Promise<Verdict> {
    return new Promise((resolve, reject) => {
      const call = this.batch.callOf(this.slot(reservation.tenant))
      call.add(this.line(reservation, mode, call), { costs, resolve, reject })
    })
  }

  private line(reservation: Reservation, mode: Mode, call: ScriptCall): Line {
    const { tenant, requestId, charges, held } = reservation
    const base = this.base(tenant)
    if (mode === MODES.peek) return { mode, base, charges }
    if (held) {
      const lifeMs = mode === MODES.settleHeld ? undefined : RESERVATION_LIFE_MS
      return { mode, first: `${base}r:${requestId}`, second: `${base}open`, number: lifeMs, base, charges }
    }
    // Whoever did not hear the answer asks by the mark that it was sent with. A copy under another name has none.
    if (reservation.mark?.requestId !== requestId) {
      if (mode === MODES.reserve) {
        reservation.mark = { requestId, key: call.mark, place: call.nextPlace }
        return { mode, base, charges }
      }
      reservation.mark = { requestId, key: `${base}m:${requestId}`, place: 1 }
    }
    const { key, place } = reservation.mark
    return {
      mode: mode === MODES.reserve ? MODES.reserveAgain : mode,
      first: key,
      number: place,
      base,
      charges,
    }
  }

  private base(tenant: string): string {
    return `${this.options.prefix}:${FORMAT}:{${tenant}}:`
  }

  /** Outside of a cluster all keys are in one place, and tenants can share a call. */
  private slot(tenant: string): string {
    return this.options.client instanceof Cluster ? this.base(tenant) : `${this.options.prefix}:${FORMAT}:`
  }
}

function scriptOf(name: string): string {
  const read = (file: string) => readFileSync(join(import.meta.dirname, 'lua', `${file}.lua`), 'utf8')
  return `${read('counters')}\n${read(name)}`
}
