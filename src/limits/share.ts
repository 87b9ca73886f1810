import type { Charge, Reservation } from './store.ts'

/** The part of one gateway among those that are alive. */
export interface Share {
  readonly gateways: number
  /** Its place among them, from 0. */
  readonly rank: number
}

/**
 * A charge as this gateway may decide it alone. The shares of all gateways add up to the limit exactly: what cannot be
 * divided goes to the first of them.
 */
export function inShare(charge: Charge, share: Share): Charge {
  return { ...charge, limit: partOf(charge.limit, share), burst: partOf(charge.burst, share) }
}

/** A reservation in shares; budgets, which no gateway decides alone, are left out. */
export function reservationInShare(reservation: Reservation, share: Share): Reservation {
  const charges = reservation.charges.filter(({ kind }) => kind !== 'budget')
  return { ...reservation, charges: charges.map((charge) => inShare(charge, share)) }
}

/** The costs of those charges that `reservationInShare` keeps. */
export function costsInShare({ charges }: Reservation, costs: readonly number[]): readonly number[] {
  return costs.filter((_, place) => charges[place]?.kind !== 'budget')
}

/** One gateway's part; those of all add up to the whole. */
export function partOf(whole: number, { gateways, rank }: Share): number {
  return Math.floor(whole / gateways) + (rank < whole % gateways ? 1 : 0)
}
