/**
 * A place in the write-ahead log, as PostgreSQL writes it: `16/B374D848`. Who has one can wait for it, in this process
 * or in another.
 */
export type LogPosition = string

/** Farther behind than this, a replica gets no more reads. */
export const LAG_BYTES_MAX = 8_000_000n
export const LAG_TIME_MAX_MS = 10_000

/** For comparing: a later place is a larger number. */
export function positionNumber(position: LogPosition): bigint {
  const [high = '', low = ''] = position.split('/')
  return (BigInt(`0x${high}`) << 32n) | BigInt(`0x${low}`)
}

/**
 * Where the primary was at which time. PostgreSQL itself can only say when a replica's last transaction was made, which
 * is long ago on a primary that has nothing to do, and nothing at all on a fresh replica. By this, a replica is as old
 * as the newest of the primary's known places that it has reached: no clock but ours has a say.
 */
export class PrimaryHistory {
  private readonly places: { readonly position: bigint; readonly atMs: number }[] = []

  add(position: bigint, atMs: number): void {
    this.places.push({ position, atMs })
    // One older than the limit tells no more than that there is none.
    while (this.places[0] && atMs - this.places[0].atMs > LAG_TIME_MAX_MS) this.places.shift()
  }

  get newest(): bigint | undefined {
    return this.places.at(-1)?.position
  }

  /** Until when a replica knows everything; undefined when it has reached none of the known places. */
  completeUntilMs(replayed: bigint): number | undefined {
    return this.places.findLast(({ position }) => position <= replayed)?.atMs
  }
}

export interface ReplicaLag {
  readonly bytes: bigint
  /** Undefined while it is not known, which counts as too much. */
  readonly completeUntilMs: number | undefined
}

/** Why a replica is too far behind to be read, or undefined. */
export function tooFarBehind({ bytes, completeUntilMs }: ReplicaLag, nowMs: number): string | undefined {
  if (bytes > LAG_BYTES_MAX) return `${bytes} bytes behind`
  if (completeUntilMs === undefined) return 'not known to have reached any recent place of the primary'
  const lagMs = nowMs - completeUntilMs
  return lagMs > LAG_TIME_MAX_MS ? `${Math.round(lagMs)} ms behind` : undefined
}
