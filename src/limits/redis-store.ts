import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Cluster, type RedisClient } from '../redis/connection.ts'
import { ScriptBatch } from './script-batch.ts'
import { type Line, MODES, type ScriptCall } from './script-call.ts'
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
  /** Names this store; unlike any other of that prefix. */
  readonly id: string
  /** Instead of the server's own clock; for the suite that compares stores on given arrivals. */
  readonly nowMs?: (() => number) | undefined
}

/** A budget outlives its period, so that what is settled late finds it; then it is of no use. */
const BUDGET_LIFE_MS = 40 * 86_400_000

interface Scripts {
  helixflowDecide(count: number, ...keysAndWords: string[]): Promise<number[]>
  helixflowSeed(counter: string, open: string, spent: number, lifeMs: number): Promise<number>
}

/** Under which it is kept that a request was charged: a key that all of a call share, and its place there. */
interface Mark {
  readonly key: string
  readonly place: number
}

/**
 * Counters that several gateways share: one script, and so one round trip, decides about all rules of a request at the
 * server's own time. Keys of one tenant share a slot of a cluster.
 */
export class RedisStore implements LimitStore {
  private readonly scripts: Scripts
  private readonly batch: ScriptBatch
  /** Of requests that hold nothing, for as long as anybody knows them: who did not hear the answer asks by these. */
  private readonly marks = new WeakMap<Reservation, Mark>()

  constructor(private readonly options: RedisStoreOptions) {
    const { client, id, nowMs } = options
    client.defineCommand('helixflowDecide', { lua: scriptOf('decide') })
    client.defineCommand('helixflowSeed', { lua: scriptOf('seed'), numberOfKeys: 2 })
    // The client's types do not know what was just defined.
    this.scripts = client as unknown as Scripts
    const run = (call: ScriptCall) =>
      this.scripts.helixflowDecide(call.keys.length, ...call.keys, ...call.words())
    this.batch = new ScriptBatch({ run, id, nowMs })
  }

  reserve(reservation: Reservation): Promise<Verdict> {
    return this.verdict(reservation, reservation.held ? MODES.reserveHeld : MODES.reserve)
  }

  settle(reservation: Reservation, costs: readonly number[]): Promise<void> {
    const mode = reservation.held ? MODES.settleHeld : MODES.settle
    return new Promise((resolve, fail) => {
      const call = this.batch.callOf(this.slot(reservation.tenant))
      call.add(this.line(reservation, mode, costs), { read: (answers) => resolve(answers.settled()), fail })
    })
  }

  async renew(reservations: readonly Reservation[]): Promise<void> {
    await Promise.all(reservations.map((one) => this.verdict(one, one.held ? MODES.renewHeld : MODES.renew)))
  }

  async seed(tenant: string, { key }: Charge, spent: number): Promise<void> {
    const base = this.base(tenant)
    await this.scripts.helixflowSeed(`${base}c:${key}`, `${base}open`, spent, BUDGET_LIFE_MS)
  }

  async peek(tenant: string, charges: readonly Charge[]): Promise<readonly Standing[]> {
    const question = { tenant, requestId: '', charges, held: false }
    return (await this.verdict(question, MODES.peek)).standings
  }

  private verdict(reservation: Reservation, mode: Line['mode']): Promise<Verdict> {
    return new Promise((resolve, fail) => {
      const call = this.batch.callOf(this.slot(reservation.tenant))
      if (mode === MODES.reserve && !this.marks.has(reservation))
        this.marks.set(reservation, { key: call.mark, place: call.nextPlace })
      call.add(this.line(reservation, mode), {
        read: (answers) => resolve(answers.verdict(reservation.charges)),
        fail,
      })
    })
  }

  private line(reservation: Reservation, mode: Line['mode'], costs?: readonly number[]): Line {
    const { tenant, requestId, charges, held } = reservation
    const base = this.base(tenant)
    if (mode === MODES.peek) return { mode, keys: [], base, charges }
    if (mode === MODES.settleHeld)
      return { mode, keys: [`${base}r:${requestId}`, `${base}open`], base, charges, costs }
    if (held) {
      const keys = [`${base}r:${requestId}`, `${base}open`]
      return { mode, keys, number: RESERVATION_LIFE_MS, base, charges }
    }
    const mark = this.marks.get(reservation) ?? { key: `${base}m:${requestId}`, place: 1 }
    // One that came in no call before goes by its own name from now on.
    this.marks.set(reservation, mark)
    return { mode, keys: [mark.key], number: mark.place, base, charges, costs }
  }

  private base(tenant: string): string {
    return `${this.options.prefix}:{${tenant}}:`
  }

  /** Outside of a cluster all keys are in one place, and tenants can share a call. */
  private slot(tenant: string): string {
    return this.options.client instanceof Cluster ? this.base(tenant) : `${this.options.prefix}:`
  }
}

function scriptOf(name: string): string {
  const read = (file: string) => readFileSync(join(import.meta.dirname, 'lua', `${file}.lua`), 'utf8')
  return `${read('counters')}\n${read(name)}`
}
