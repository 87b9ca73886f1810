import type { Clock } from '../core/clock.ts'
import type { Counter } from './counter.ts'
import { counterOf } from './counters.ts'
import { isFull } from './sliding-window.ts'
import {
  type Charge,
  type LimitStore,
  RESERVATION_LIFE_MS,
  type Reservation,
  type Standing,
  type Verdict,
} from './store.ts'

interface Kept {
  charge: Charge
  /** When it was last looked at. */
  seenMs: number
  readonly counter: Counter<unknown>
  readonly state: unknown
}

interface Open {
  readonly charges: readonly Charge[]
  readonly kept: readonly Kept[]
  /** When each charge is held to have been taken. */
  readonly takenMs: readonly number[]
  untilMs: number
}

const NONE: readonly number[] = []
/** A budget is never as good as new; one that nobody asks for is read from the database when somebody does again. */
const BUDGET_IDLE_MS = 2 * 86_400_000

/** Counters in this process: exact for one gateway, and what the scripts of Redis are compared with. */
export class MemoryStore implements LimitStore {
  /** By tenant and key. */
  private readonly tenants = new Map<string, Map<string, Kept>>()
  /** In the order in which they expire. */
  private readonly open = new Map<string, Open>()
  /** Before this none of them does. */
  private expiryMs = Number.POSITIVE_INFINITY
  private readonly startMs: number

  constructor(private readonly clock: Pick<Clock, 'now' | 'monotonic'>) {
    this.startMs = clock.now() - clock.monotonic()
  }

  /** Counters that are kept. */
  get size(): number {
    let size = 0
    for (const counters of this.tenants.values()) size += counters.size
    return size
  }

  reserve(reservation: Reservation): Verdict {
    const nowMs = this.now()
    if (nowMs >= this.expiryMs) this.takeBackExpired(nowMs)
    const kept = this.find(reservation.tenant, reservation.charges, nowMs)
    if (reservation.held && this.open.has(reservation.requestId)) return verdictOf(kept, nowMs, GRANTED)
    const decision = decide(kept, nowMs)
    if (decision.refused === undefined && decision.unseeded === NONE) this.take(reservation, kept, nowMs)
    return verdictOf(kept, nowMs, decision)
  }

  settle({ requestId }: Pick<Reservation, 'requestId'>, costs: readonly number[]): void {
    const open = this.open.get(requestId)
    if (!open) return
    this.open.delete(requestId)
    const nowMs = this.now()
    open.charges.forEach((reserved, place) => {
      const by = (costs[place] ?? 0) - reserved.cost
      const one = open.kept[place]
      if (by === 0 || !one) return
      one.counter.advance(one.charge, one.state, nowMs)
      const entry = { name: requestId, atMs: open.takenMs[place] ?? nowMs }
      one.counter.adjust(one.charge, one.state, entry, by)
    })
  }

  renew(reservations: readonly Reservation[]): void {
    const nowMs = this.now()
    for (const reservation of reservations) {
      const open = this.open.get(reservation.requestId)
      if (!open) {
        this.take(reservation, this.find(reservation.tenant, reservation.charges, nowMs), nowMs)
        continue
      }
      open.untilMs = nowMs + RESERVATION_LIFE_MS
      this.open.delete(reservation.requestId)
      this.open.set(reservation.requestId, open)
    }
  }

  seed(tenant: string, charge: Charge, spent: number): void {
    const [kept] = this.find(tenant, [charge], this.now())
    const state = kept?.state as { used: number | undefined }
    state.used ??= spent + this.reservedOf(kept)
  }

  peek(tenant: string, charges: readonly Charge[]): readonly Standing[] {
    const nowMs = this.now()
    return standingsOf(this.find(tenant, charges, nowMs), nowMs)
  }

  /** Forgets counters that are as good as new, and budgets of periods that are over. To be called now and then. */
  sweep(): void {
    const nowMs = this.now()
    if (nowMs >= this.expiryMs) this.takeBackExpired(nowMs)
    const inUse = new Set([...this.open.values()].flatMap(({ kept }) => kept))
    for (const [tenant, counters] of this.tenants) {
      for (const [key, kept] of counters) {
        const { counter, charge, state } = kept
        counter.advance(charge, state, nowMs)
        const isIdle = charge.kind === 'budget' && kept.seenMs < nowMs - BUDGET_IDLE_MS
        if ((isIdle || counter.isFresh(charge, state)) && !inUse.has(kept)) counters.delete(key)
      }
      if (counters.size === 0) this.tenants.delete(tenant)
    }
  }

  /** What is reserved at the moment is not in the database yet. */
  private reservedOf(counter: Kept | undefined): number {
    let reserved = 0
    for (const { kept, charges } of this.open.values()) {
      const place = counter ? kept.indexOf(counter) : -1
      reserved += charges[place]?.cost ?? 0
    }
    return reserved
  }

  private take({ charges, requestId, held }: Reservation, kept: readonly Kept[], nowMs: number): void {
    const entry = { name: requestId, atMs: nowMs }
    if (!held) {
      for (let place = 0; place < kept.length; place++) {
        const { counter, charge, state } = kept[place] as Kept
        counter.take(charge, state, charge.cost, entry)
      }
      return
    }
    const takenMs = kept.map(({ counter, charge, state }) => counter.take(charge, state, charge.cost, entry))
    const untilMs = nowMs + RESERVATION_LIFE_MS
    if (this.open.size === 0) this.expiryMs = untilMs
    this.open.set(requestId, { charges, kept, takenMs, untilMs })
  }

  /** The counters of these charges, brought to this time. */
  private find(tenant: string, charges: readonly Charge[], nowMs: number): readonly Kept[] {
    const counters = this.countersOf(tenant)
    const [only] = charges
    if (only && charges.length === 1) return [this.keptOf(counters, only, nowMs)]
    return charges.map((charge) => this.keptOf(counters, charge, nowMs))
  }

  private keptOf(counters: Map<string, Kept>, charge: Charge, nowMs: number): Kept {
    let kept = counters.get(charge.key)
    if (kept?.charge.kind !== charge.kind) {
      const counter = counterOf(charge.kind)
      kept = { charge, seenMs: nowMs, counter, state: counter.start(charge) }
      counters.set(charge.key, kept)
    }
    // The rule may have been changed since: what was used stays used.
    kept.charge = charge
    kept.seenMs = nowMs
    kept.counter.advance(charge, kept.state, nowMs)
    return kept
  }

  private countersOf(tenant: string): Map<string, Kept> {
    let counters = this.tenants.get(tenant)
    if (!counters) {
      counters = new Map()
      this.tenants.set(tenant, counters)
    }
    return counters
  }

  private takeBackExpired(nowMs: number): void {
    for (const [requestId, { charges, untilMs }] of this.open) {
      if (untilMs > nowMs) {
        this.expiryMs = untilMs
        return
      }
      this.settle(
        { requestId },
        charges.map(() => 0),
      )
    }
    this.expiryMs = Number.POSITIVE_INFINITY
  }

  private now(): number {
    // As the machine's clock was at the start, and steady since: setting it changes no window.
    return Math.floor(this.startMs + this.clock.monotonic())
  }
}

function verdictOf(kept: readonly Kept[], nowMs: number, decision: Decision): Verdict {
  const { refused, waitMs, unseeded, gathered } = decision
  return { refused, waitMs, standings: standingsOf(kept, nowMs), unseeded, gathered }
}

type Decision = Omit<Verdict, 'standings'>

const GRANTED: Decision = { refused: undefined, waitMs: 0, unseeded: NONE, gathered: false }

function decide(kept: readonly Kept[], nowMs: number): Decision {
  let refused: number | undefined
  let waitMs = 0
  let unseeded = NONE
  let gathered = false
  for (let place = 0; place < kept.length; place++) {
    const { counter, charge, state } = kept[place] as Kept
    if (charge.kind === 'budget' && (state as { used: number | undefined }).used === undefined) {
      unseeded = [...unseeded, place]
      continue
    }
    if (charge.kind === 'sliding-window' && isFull(state as Parameters<typeof isFull>[0])) gathered = true
    if (counter.remaining(charge, state) >= charge.cost) continue
    const wait = counter.waitMs(charge, state, charge.cost, nowMs)
    if (refused !== undefined && wait <= waitMs) continue
    refused = place
    waitMs = wait
  }
  if (refused === undefined && unseeded === NONE && !gathered) return GRANTED
  return { refused, waitMs, unseeded, gathered }
}

function standingsOf(kept: readonly Kept[], nowMs: number): readonly Standing[] {
  const standings: Standing[] = []
  for (let place = 0; place < kept.length; place++) {
    const { counter, charge, state } = kept[place] as Kept
    const remaining = Math.max(0, counter.remaining(charge, state))
    standings.push({ remaining, resetMs: counter.resetMs(charge, state, nowMs) })
  }
  return standings
}
