import type { Charge, Reservation } from './store.ts'

/** What a shared store has to be told about one reservation when it is back. */
export interface Arrear {
  readonly reservation: Reservation
  /** It was sent, and nobody knows whether it arrived: it may still do so. */
  readonly uncertain: boolean
  /** What it cost; undefined while it runs, and none where it was refused. */
  readonly costs: readonly number[] | 'running' | 'refused'
}

/** So much of one counter was used meanwhile. */
export interface Used {
  /** Under which the store is told, once. */
  readonly id: string
  readonly tenant: string
  readonly charge: Charge
  cost: number
}

/** Beyond it, the store's own expiry takes care of what it was never told. */
const SETTLEMENTS_MAX = 100_000

/**
 * What happened while the shared store was away, kept so that it can be told. Reservations that have ended are added up
 * by counter, so that a long outage takes no more room than a short one.
 */
export class Outage {
  /** Decided here, and not yet ended; or sent, with an unknown fate. */
  private readonly open = new Map<string, Arrear>()
  private used = new Map<string, Used>()
  /** What is being told, until it is known to have arrived. */
  private telling: Used[] = []
  /** Of reservations that the store has, and that ended meanwhile. */
  private readonly settlements = new Map<string, Arrear>()
  private sums = 0

  constructor(
    /** Names this outage, unlike any other of any gateway. */
    private readonly id: string,
    readonly sinceMs: number,
  ) {}

  get isEmpty(): boolean {
    return this.open.size + this.used.size + this.telling.length + this.settlements.size === 0
  }

  /** Whether a reservation was decided here. */
  has(requestId: string): boolean {
    return this.open.has(requestId)
  }

  granted(reservation: Reservation, uncertain: boolean): void {
    const costs = reservation.charges.map(({ cost }) => cost)
    if (!reservation.held && !uncertain) this.add(reservation, costs)
    else {
      const now = reservation.held ? 'running' : costs
      this.open.set(reservation.requestId, { reservation, uncertain, costs: now })
    }
  }

  refused(reservation: Reservation): void {
    this.open.set(reservation.requestId, { reservation, uncertain: true, costs: 'refused' })
  }

  /** One that was decided here has ended. */
  ended(requestId: string, costs: readonly number[]): void {
    const arrear = this.open.get(requestId)
    if (!arrear) return
    if (arrear.uncertain) {
      this.open.set(requestId, { ...arrear, costs })
      return
    }
    this.open.delete(requestId)
    this.add(arrear.reservation, costs)
  }

  /** One that the store has was settled, and it could not be told. */
  settled(reservation: Reservation, costs: readonly number[]): void {
    if (this.settlements.size >= SETTLEMENTS_MAX) return
    this.settlements.set(reservation.requestId, { reservation, uncertain: false, costs })
  }

  /** What has to be told one by one; from here on it may have arrived. */
  arrears(): readonly Arrear[] {
    for (const [id, arrear] of this.open) this.open.set(id, { ...arrear, uncertain: true })
    return [...this.open.values(), ...this.settlements.values()]
  }

  /** The store knows of it now, as far as it went when it was told. */
  told({ reservation, costs }: Arrear): void {
    const { requestId } = reservation
    this.settlements.delete(requestId)
    const now = this.open.get(requestId)
    this.open.delete(requestId)
    if (costs === 'running' && now && typeof now.costs !== 'string') this.settled(reservation, now.costs)
  }

  sumsToTell(): readonly Used[] {
    this.telling.push(...this.used.values())
    this.used = new Map()
    return this.telling
  }

  sumTold(used: Used): void {
    this.telling = this.telling.filter((one) => one !== used)
  }

  private add({ tenant, charges }: Reservation, costs: readonly number[]): void {
    charges.forEach((charge, place) => {
      const cost = costs[place] ?? 0
      // Whoever ran has left its place.
      if (charge.kind === 'gauge' || cost === 0) return
      const name = `${tenant}/${charge.key}`
      const used = this.used.get(name) ?? { id: `${this.id}:${++this.sums}`, tenant, charge, cost: 0 }
      used.cost += cost
      this.used.set(name, used)
    })
  }
}
