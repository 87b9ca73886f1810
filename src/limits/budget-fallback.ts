import type { Reservation } from './store.ts'

/** Where hard budgets are kept while the shared store is away. */
export interface BudgetFallback {
  /**
   * Takes the budgets' part of a reservation.
   * @returns the place of the charge that has too little left; undefined when all were taken
   * @throws HelixError `storage_unavailable`: then nothing is granted
   */
  reserve(reservation: Reservation): Promise<number | undefined>
  /** What it really cost is on its way to the database by itself. */
  release(reservation: Reservation): void
}
