/** At most one flight for each key that others may join. */
export class SingleFlight<Flight> {
  private readonly flights = new Map<string, Flight>()

  get size(): number {
    return this.flights.size
  }

  get(key: string): Flight | undefined {
    return this.flights.get(key)
  }

  /** Who asks from now on joins this one; one that was there before goes on with those it has. */
  begin(key: string, flight: Flight): void {
    this.flights.set(key, flight)
  }

  /** Nobody joins it any more. */
  end(key: string, flight: Flight): void {
    if (this.flights.get(key) === flight) this.flights.delete(key)
  }
}
