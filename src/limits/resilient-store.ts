import { type Clock, delay } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import { withinDeadline } from '../redis/deadline.ts'
import type { BudgetFallback } from './budget-fallback.ts'
import { Heard } from './heard.ts'
import { MemoryStore } from './memory-store.ts'
import { type Arrear, Outage, type Used } from './outage.ts'
import { costsInShare, inShare, reservationInShare, type Share } from './share.ts'
import type { Charge, LimitStore, Reservation, Standing, Verdict } from './store.ts'

export interface ResilientStoreOptions {
  readonly shared: LimitStore
  /** Whether the shared store answers. */
  readonly probe: () => Promise<unknown>
  readonly share: () => Share
  readonly budgets: BudgetFallback
  readonly clock: Clock
  readonly log: Logger
  /** Names this gateway. */
  readonly id: string
  /** Reservations that are open at the moment: a store that stood still may take them for forgotten. */
  readonly running: () => readonly Reservation[]
  /** Longest wait of a request for the shared store. */
  readonly timeoutMs: number
  /** Told when it goes, with true, and when it is back. */
  readonly onOutage: (away: boolean) => void
}

const PROBE_EVERY_MS = 100
/** Making good takes more than one decision, and no request waits for it. */
const RECOVERY_TIMEOUT_MS = 1_000
const RECOVERY_BATCH = 200

/**
 * Decides with a shared store, and while that is away by this gateway's share of each limit: never without a limit,
 * never with a failure. When the store is back it is told what happened meanwhile before it is asked again, so that
 * nothing is granted twice.
 *
 * All that this gateway takes is counted in shares too, all the time, so that it knows at any moment what of its share
 * is left. Where the store said that less is left than that, it is less; of what nothing was heard, its share is its own.
 */
export class ResilientStore implements LimitStore {
  private readonly shares: MemoryStore
  private outage: Outage | undefined
  private readonly heard = new Heard()
  /** Counters whose shares were cut to what was heard, in this outage. */
  private readonly adopted = new Set<string>()
  /** The last of what has to be told is on its way. */
  private returning: Promise<void> | undefined
  private readonly stopping = new AbortController()

  constructor(private readonly options: ResilientStoreOptions) {
    this.shares = new MemoryStore(options.clock)
  }

  /** Whether it decides by shares. */
  get away(): boolean {
    return this.outage !== undefined
  }

  async reserve(reservation: Reservation): Promise<Verdict> {
    // Whether that succeeds is seen by what is left of the outage.
    if (this.returning) await this.returning.catch(() => {})
    if (this.outage) return this.decideHere(reservation, false)
    try {
      const { clock, timeoutMs, shared } = this.options
      const asked = Promise.resolve(shared.reserve(reservation))
      const verdict = await withinDeadline(clock, timeoutMs, asked)
      this.hear(reservation, verdict)
      return verdict
    } catch (cause) {
      this.leave(cause)
      return this.decideHere(reservation, true)
    }
  }

  async settle(reservation: Reservation, costs: readonly number[]): Promise<void> {
    this.shares.settle(reservation, costsInShare(reservation, costs))
    // Also where the store was told of it meanwhile.
    this.options.budgets.release(reservation)
    if (this.outage?.has(reservation.requestId)) return this.outage.ended(reservation.requestId, costs)
    if (this.outage) return this.outage.settled(reservation, costs)
    try {
      const { clock, timeoutMs, shared } = this.options
      await withinDeadline(clock, timeoutMs, Promise.resolve(shared.settle(reservation, costs)))
    } catch (cause) {
      this.leave(cause).settled(reservation, costs)
    }
  }

  async renew(reservations: readonly Reservation[]): Promise<void> {
    const { outage } = this
    this.shares.renew(reservations.map((one) => reservationInShare(one, this.options.share())))
    const theirs = reservations.filter(({ requestId }) => !outage?.has(requestId))
    if (outage || theirs.length === 0) return
    try {
      await this.inBatches(theirs, (one) => this.options.shared.renew([one]))
    } catch (cause) {
      this.leave(cause)
    }
  }

  async seed(tenant: string, charge: Charge, spent: number): Promise<void> {
    if (this.outage) return
    const { clock, timeoutMs, shared } = this.options
    try {
      await withinDeadline(clock, timeoutMs, Promise.resolve(shared.seed(tenant, charge, spent)))
    } catch (cause) {
      this.leave(cause)
    }
  }

  async peek(tenant: string, charges: readonly Charge[]): Promise<readonly Standing[]> {
    const { clock, timeoutMs, shared, share } = this.options
    const here = () =>
      this.shares.peek(
        tenant,
        charges.map((charge) => inShare(charge, share())),
      )
    if (this.outage) return here()
    try {
      return await withinDeadline(clock, timeoutMs, Promise.resolve(shared.peek(tenant, charges)))
    } catch (cause) {
      this.leave(cause)
      return here()
    }
  }

  /** Forgets what is of no use any more. To be called now and then. */
  sweep(): void {
    this.shares.sweep()
    if (!this.outage) this.heard.sweep(this.options.clock.monotonic())
  }

  /**
   * Asks what is left of the counters in use, so that what the others take is known where this gateway is asked for
   * little. To be called every second.
   */
  async refresh(): Promise<void> {
    const { clock, shared, log } = this.options
    if (this.outage) return
    try {
      await this.inBatches(this.heard.due(clock.monotonic()), async (known) => {
        const [standing] = await shared.peek(known.tenant, [known.charge])
        if (standing) this.heard.told(known, standing, clock.monotonic())
      })
    } catch (cause) {
      // Nobody waits for it: the next request finds out whether the store is away.
      log.debug('what is left of limits is not known anew', { cause: String(cause) })
    }
  }

  stop(): void {
    this.stopping.abort()
  }

  private hear(reservation: Reservation, verdict: Verdict): void {
    const nowMs = this.options.clock.monotonic()
    reservation.charges.forEach((charge, place) => {
      const standing = verdict.standings[place]
      if (!standing || charge.kind === 'budget' || charge.kind === 'gauge') return
      this.heard.used({ tenant: reservation.tenant, charge }, standing, nowMs)
    })
    const granted = verdict.refused === undefined && verdict.unseeded.length === 0
    if (granted) this.shares.renew([reservationInShare(reservation, this.options.share())])
  }

  private async decideHere(reservation: Reservation, uncertain: boolean): Promise<Verdict> {
    const own = reservationInShare(reservation, this.options.share())
    for (const charge of own.charges) this.adopt(reservation.tenant, charge)
    let verdict = this.asIfWhole(reservation, this.shares.reserve(own))
    if (verdict.refused === undefined) {
      try {
        const refused = await this.budgetOf(reservation)
        if (refused !== undefined) verdict = { ...verdict, refused, waitMs: Number.POSITIVE_INFINITY }
      } catch (reason) {
        this.takeBack(own)
        if (uncertain) await this.keep(reservation, 'refused', uncertain)
        throw reason
      }
      if (verdict.refused !== undefined) this.takeBack(own)
    }
    if (verdict.refused === undefined) await this.keep(reservation, 'running', uncertain)
    else if (uncertain) await this.keep(reservation, 'refused', uncertain)
    return verdict
  }

  /** For when the store is back; which, while the database was asked, it may be already. */
  private async keep(
    reservation: Reservation,
    costs: 'running' | 'refused',
    uncertain: boolean,
  ): Promise<void> {
    const note = (outage: Outage, isUncertain: boolean) => {
      if (costs === 'refused') outage.refused(reservation)
      else outage.granted(reservation, isUncertain)
    }
    if (this.outage) return note(this.outage, uncertain)
    try {
      await this.inBatches([{ reservation, costs, uncertain }], (one) => this.makeGood(one))
    } catch (cause) {
      note(this.leave(cause), true)
    }
  }

  private takeBack(own: Reservation): void {
    this.shares.settle(
      own,
      own.charges.map(() => 0),
    )
  }

  /** Hard budgets go on in the database, or not at all. @throws HelixError `storage_unavailable` */
  private budgetOf(reservation: Reservation): Promise<number | undefined> | undefined {
    if (!reservation.charges.some(({ kind }) => kind === 'budget')) return undefined
    return this.options.budgets.reserve(reservation)
  }

  /** Of what was heard to be left no more than a share is taken, although of its own share more may be. */
  private adopt(tenant: string, charge: Charge): void {
    const name = `${tenant}/${charge.key}`
    if (charge.kind === 'gauge' || this.adopted.has(name)) return
    this.adopted.add(name)
    const { clock, share } = this.options
    const left = this.heard.left({ tenant, charge }, share(), clock.monotonic())
    const [standing] = this.shares.peek(tenant, [charge])
    const taken = (standing?.remaining ?? 0) - (left ?? Number.POSITIVE_INFINITY)
    if (taken <= 0) return
    const charges = [{ ...charge, cost: taken }]
    this.shares.renew([{ tenant, requestId: `adopted:${name}`, charges, held: false }])
  }

  /** A share's verdict in the places of all charges. What is more than a share may be granted when the store is back. */
  private asIfWhole({ charges }: Reservation, decided: Verdict): Verdict {
    const places = charges.flatMap(({ kind }, place) => (kind === 'budget' ? [] : [place]))
    const refused = decided.refused === undefined ? undefined : places[decided.refused]
    const charge = refused === undefined ? undefined : charges[refused]
    const waitMs =
      charge && decided.waitMs === Number.POSITIVE_INFINITY && charge.cost <= charge.burst
        ? Math.max(1_000, charge.windowMs)
        : decided.waitMs
    const standings = charges.map(({ limit }) => ({ remaining: limit, resetMs: 0 }) satisfies Standing)
    places.forEach((place, at) => {
      standings[place] = decided.standings[at] ?? { remaining: 0, resetMs: 0 }
    })
    return { refused, waitMs, standings, unseeded: [], gathered: decided.gathered }
  }

  private leave(cause: unknown): Outage {
    if (this.outage) return this.outage
    const sinceMs = this.options.clock.monotonic()
    this.outage = new Outage(`${this.options.id}:${sinceMs}`, sinceMs)
    this.adopted.clear()
    this.options.log.warn('limits go on by shares', {
      cause: HelixError.from(cause).message,
      ...this.options.share(),
    })
    this.options.onOutage(true)
    void this.comeBack(this.outage)
    return this.outage
  }

  private async comeBack(outage: Outage): Promise<void> {
    const { clock, probe, log, onOutage, running, shared } = this.options
    while (!this.stopping.signal.aborted) {
      await delay(clock, PROBE_EVERY_MS, this.stopping.signal).catch(() => {})
      try {
        await withinDeadline(clock, this.options.timeoutMs, probe())
        const theirs = running().filter(({ requestId }) => !outage.has(requestId))
        await this.inBatches(theirs, (one) => shared.renew([one]))
        await this.tell(outage)
        // The rest is little, and whoever comes now waits for it: under load it would never come to an end.
        this.returning = this.tellRest(outage)
        await this.returning
        log.info('limits are shared again', { awayMs: Math.round(clock.monotonic() - outage.sinceMs) })
        onOutage(false)
        return
      } catch (cause) {
        log.debug('shared limits are still away', { cause: String(cause) })
      }
    }
  }

  private async tellRest(outage: Outage): Promise<void> {
    try {
      while (!outage.isEmpty) await this.tell(outage)
      this.outage = undefined
    } finally {
      this.returning = undefined
    }
  }

  private async tell(outage: Outage): Promise<void> {
    await this.inBatches(outage.arrears(), async (arrear) => {
      await this.makeGood(arrear)
      outage.told(arrear)
    })
    await this.inBatches(outage.sumsToTell(), async (used) => {
      await this.addUp(used)
      outage.sumTold(used)
    })
  }

  private async addUp({ id, tenant, charge, cost }: Used): Promise<void> {
    const own = inShare(charge, this.options.share())
    const [standing] = this.shares.peek(tenant, charge.kind === 'budget' ? [] : [own])
    // No more than is missing of the share: the rest has been refilled, or is over.
    const missing = standing ? Math.max(0, own.burst - standing.remaining) : cost
    const charges = [{ ...charge, cost: Math.min(cost, missing) }]
    await this.options.shared.renew([{ tenant, requestId: id, charges, held: false }])
  }

  private async makeGood({ reservation, costs }: Arrear): Promise<void> {
    const { shared } = this.options
    if (costs === 'refused') {
      const nothing = reservation.charges.map(() => 0)
      return shared.settle(reservation, nothing)
    }
    // Also one that it had: it may have been taken back while nobody could renew it.
    await shared.renew([reservation])
    if (costs !== 'running') await shared.settle(reservation, costs)
  }

  private async inBatches<One>(all: readonly One[], work: (one: One) => void | Promise<void>): Promise<void> {
    for (let at = 0; at < all.length; at += RECOVERY_BATCH) {
      const batch = all.slice(at, at + RECOVERY_BATCH).map(async (one) => work(one))
      await withinDeadline(this.options.clock, RECOVERY_TIMEOUT_MS, Promise.all(batch))
    }
  }
}
