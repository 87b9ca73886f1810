import type { SpendQuery } from '../contracts/limits.ts'
import type { Terms } from './counter.ts'

/** One rule that a request is charged to. */
export interface Charge extends Terms {
  /** Names the counter, within its tenant. */
  readonly key: string
  /** What is taken at once; `settle` says later what it really was. */
  readonly cost: number
  /** Of a budget: what the database is asked about it. */
  readonly spend?: SpendQuery | undefined
}

/** All that a request is charged, at once or not at all. */
export interface Reservation {
  /** Whose counters these are. */
  readonly tenant: string
  /** A second reservation with the same id is the first one; where nothing is held, the same object again. */
  readonly requestId: string
  readonly charges: readonly Charge[]
  /** Whether `settle` will follow; else what was taken is what it cost. */
  readonly held: boolean
  /** Set by the store that it is sent to: a table beside it would cost more than the decision. */
  mark?: Mark
}

/** Where a shared store keeps that a request that holds nothing was charged. */
export interface Mark {
  /** Of whom it is; whoever copies a reservation for another request copies this too. */
  readonly requestId: string
  readonly key: string
  readonly place: number
}

/** What is left of one rule. */
export interface Standing {
  readonly remaining: number
  /** Until all of it is there again. */
  readonly resetMs: number
}

export interface Verdict {
  /** The charge that has to wait longest, by its place; undefined when all were taken. */
  readonly refused: number | undefined
  /** When a repeat may be granted; infinite where none ever can. 0 when granted. */
  readonly waitMs: number
  /** Of each charge, afterwards. */
  readonly standings: readonly Standing[]
  /** Budgets, by their place, of which it is not known what was spent before: nothing was decided. */
  readonly unseeded: readonly number[]
  /** Whether a log among them was full, so that new entries are gathered and no longer exact. */
  readonly gathered: boolean
}

/**
 * Keeps counters. Calls that a store in this process answers at once come without a promise.
 *
 * Reservations end by `settle`; those that nobody renews for `RESERVATION_LIFE_MS` are taken back whole: whoever made
 * them is gone.
 */
export interface LimitStore {
  /** @throws HelixError `storage_unavailable` when it is not known whether it had its effect */
  reserve(reservation: Reservation): Verdict | Promise<Verdict>
  /**
   * Puts what it really cost, for each charge, in the place of what was taken. One that is not there was taken back
   * before and stays so. Once it is settled, the same reservation charges nothing any more, whenever it comes.
   */
  settle(reservation: Reservation, costs: readonly number[]): void | Promise<void>
  /** Keeps reservations alive, and charges again those that the store has lost. */
  renew(reservations: readonly Reservation[]): void | Promise<void>
  /** What was spent of a budget before it was first asked for, unless somebody else said so already. */
  seed(tenant: string, charge: Charge, spent: number): void | Promise<void>
  /** What is left, without taking anything. */
  peek(tenant: string, charges: readonly Charge[]): readonly Standing[] | Promise<readonly Standing[]>
}

/** A gateway renews its own several times within this. */
export const RESERVATION_LIFE_MS = 30_000
export const RENEW_EVERY_MS = 8_000
