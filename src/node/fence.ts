import { HelixError } from '../core/errors.ts'

/** Lets the latest leader through and nobody before it; see `contracts/epoch.ts`. */
export class Fence {
  private latest = 0
  private raised = new AbortController()

  /** Aborts when a later leader than the present one is heard of. */
  get signal(): AbortSignal {
    return this.raised.signal
  }

  /** @throws HelixError `not_leader` */
  admit(epoch: number | undefined): void {
    if (epoch === undefined || epoch < this.latest) {
      throw new HelixError('not_leader', 'Another pool leads by now.', {
        internal: `a pool of epoch ${epoch ?? 'unknown'} was refused: ${this.latest} leads`,
      })
    }
    if (epoch === this.latest) return
    this.latest = epoch
    this.raised.abort()
    this.raised = new AbortController()
  }
}
