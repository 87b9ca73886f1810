import type { SpendClient } from '../contracts/limits.ts'
import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/log.ts'
import type { Reservation } from './store.ts'

/** Where hard budgets are kept while the shared store is away. */
export interface BudgetFallback {
  /**
   * Takes the budgets' part of a reservation.
   * @returns the place of the charge that has too little left; undefined when all were taken
   * @throws HelixError `storage_unavailable`: then nothing is granted
   */
  reserve(reservation: Reservation): Promise<number | undefined>
  /** To be called whenever a reservation ends. What it really cost is on its way to the database by itself. */
  release(reservation: Reservation): void
}

export interface DatabaseBudgetsOptions {
  readonly spend: SpendClient
  /** Reservations of this gateway that are open; the database knows only those that were made in it. */
  readonly running: () => readonly Reservation[]
  /** Longest life of a request. */
  readonly requestDeadlineMs: number
  readonly clock: Clock
  readonly log: Logger
}

/** The record of what a request cost is in the database by then, and takes the place of what was reserved. */
const RELEASE_AFTER_MS = 5_000

/** Budgets in the database itself: slower, and what the other gateways have under way is not seen in it. */
export class DatabaseBudgets implements BudgetFallback {
  /** Requests whose reservations the database has. */
  private readonly reserved = new Set<string>()

  constructor(private readonly options: DatabaseBudgetsOptions) {}

  async reserve({ tenant, requestId, charges }: Reservation): Promise<number | undefined> {
    const { spend, running, requestDeadlineMs, clock } = this.options
    const places = charges.flatMap(({ kind }, place) => (kind === 'budget' ? [place] : []))
    const open = running().filter((one) => one.tenant === tenant && !this.reserved.has(one.requestId))
    const claims = places.flatMap((place) => {
      const charge = charges[place]
      if (!charge?.spend) return []
      const { key, limit, cost } = charge
      const elsewhere = open.flatMap((one) => one.charges).filter((one) => one.key === key)
      const reserved = elsewhere.reduce((sum, one) => sum + one.cost, 0)
      return [{ ...charge.spend, amount: Math.max(0, limit - reserved), cost }]
    })
    const expiresAtMs = clock.now() + requestDeadlineMs
    const refused = await spend.reserveSpend({ organisationId: tenant, requestId, expiresAtMs, claims })
    if (refused !== undefined) return places[refused]
    this.reserved.add(requestId)
    return undefined
  }

  release({ tenant, requestId }: Reservation): void {
    const { clock, spend, log } = this.options
    if (!this.reserved.delete(requestId)) return
    clock.schedule(RELEASE_AFTER_MS, () => {
      spend.releaseSpend(tenant, [requestId]).catch((cause: unknown) => {
        log.warn('a budget reservation is left to expire', { request: requestId, cause: String(cause) })
      })
    })
  }
}
