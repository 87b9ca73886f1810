/** What Redis has of one stream; all of it in one slot of a cluster. */
export interface StreamKeys {
  readonly head: string
  readonly events: string
  /** That there was one, after its time. */
  readonly gone: string
  /** Gateways at which somebody reads it. */
  readonly readers: string
  /** Where its newest number is told. */
  readonly channel: string
}

export function streamKeys(prefix: string, id: string): StreamKeys {
  const base = `${prefix}:stream:{${id}}`
  return {
    head: `${base}:head`,
    events: `${base}:events`,
    gone: `${base}:gone`,
    readers: `${base}:readers`,
    channel: `${base}:new`,
  }
}
