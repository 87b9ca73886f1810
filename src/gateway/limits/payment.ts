import type { Behind } from '../caching/refresh-passenger.ts'
import type { Settlement } from '../dispatch/settlement.ts'
import type { Admission } from './limit-gate.ts'

/** Who settles what was reserved for a request: itself, or the new answer that is made behind an old one it was given. */
export class Payment {
  private lent = false

  constructor(private readonly admission: Pick<Admission, 'settle'>) {}

  settle(settlement: Settlement | undefined): void {
    // An answer that was kept costs nothing; whether a new one is made behind it is decided in this very moment.
    if (settlement?.cache === 'hit') queueMicrotask(() => this.end(settlement))
    else this.end(settlement)
  }

  /** What that answer costs is paid out of the reservation, which is for the same question, and lasts as long. */
  lend(behind: Behind): Behind {
    this.lent = true
    return {
      tenant: behind.tenant,
      settled: (settlement) => {
        behind.settled(settlement)
        this.admission.settle(settlement)
      },
      close: () => {
        behind.close()
        this.admission.settle(undefined)
      },
    }
  }

  private end(settlement: Settlement | undefined): void {
    if (!this.lent) this.admission.settle(settlement)
  }
}
