import type { Asker } from '../dispatch/dispatch.ts'
import type { Settlement } from '../dispatch/settlement.ts'
import type { Passenger } from './flight-run.ts'

/** Who is charged for an answer that nobody waits for. */
export interface Behind extends Pick<Asker, 'tenant' | 'settled'> {
  close(): void
}

/** Follows a flight for the sake of what is kept of it. */
export class RefreshPassenger implements Passenger {
  readonly fits = true

  constructor(private readonly behind: Behind) {}

  take(): boolean {
    return true
  }

  drained(): void {}

  comment(): void {}

  settle(settlement: Settlement): void {
    this.behind.settled(settlement)
  }

  finished(): void {
    this.behind.close()
  }

  failed(): void {
    this.behind.close()
  }
}
