import { HelixError } from '../core/errors.ts'

/** One of those who want the answer that a flight brings. */
export interface Follower {
  /** The next piece. @returns false when it cannot take more until `drained` calls back */
  take(piece: Buffer): boolean
  drained(resume: () => void): void
  /** It has taken every piece, and no more will come. */
  finished(): void
  /** It gets no more, for this reason. */
  failed(error: HelixError): void
}

export interface FlightOptions {
  /** The most that is kept for those who come later, and the most that a follower may lag behind. */
  readonly bytesMax: number
  /** Nobody follows any more and the end has not come. */
  readonly abandoned: () => void
}

type End = { readonly kind: 'complete' } | { readonly kind: 'failed'; readonly error: HelixError }

interface Place {
  /** Number of the next piece. */
  next: number
  takenBytes: number
  waiting: boolean
}

/**
 * One answer on its way to all who asked for it. It belongs to none of them: each, the first one too, gets it from its
 * beginning and then lives on with it, and may leave; the last who leaves ends it. The source waits for nobody while
 * somebody keeps up. What is kept is bounded: an answer that outgrows the bound takes no more followers, and is from
 * there on held only for those who have yet to read it; who lags further behind than the bound is cut.
 */
export class Flight<One extends Follower = Follower> {
  private readonly places = new Map<One, Place>()
  private pieces: Buffer[] = []
  /** Number of the first piece that is still kept. */
  private first = 0
  private totalBytes = 0
  private end: End | undefined
  private resume: (() => void) | undefined

  constructor(private readonly options: FlightOptions) {}

  /** Who follows, in the order in which they came. */
  get followers(): readonly One[] {
    return [...this.places.keys()]
  }

  /** Whether all of it is still there for somebody who comes now. */
  get isWhole(): boolean {
    return this.first === 0 && this.totalBytes <= this.options.bytesMax
  }

  /** Everything that came. */
  get body(): Buffer {
    return this.pieces.length === 1 && this.pieces[0] ? this.pieces[0] : Buffer.concat(this.pieces)
  }

  follow(follower: One): void {
    const place = { next: this.first, takenBytes: 0, waiting: false }
    this.places.set(follower, place)
    this.serve(follower, place)
  }

  leave(follower: One): void {
    if (!this.places.delete(follower)) return
    this.release()
    if (this.places.size === 0 && !this.end) this.options.abandoned()
  }

  /** @returns false when nobody takes more at present, and nothing more is to be kept; then `drained` calls back */
  push(piece: Buffer): boolean {
    this.pieces.push(piece)
    this.totalBytes += piece.length
    for (const [follower, place] of [...this.places]) this.serve(follower, place)
    if (this.isWhole) return true
    this.cutSlow()
    this.trim()
    return this.places.size === 0 || [...this.places.values()].some(({ waiting }) => !waiting)
  }

  drained(resume: () => void): void {
    this.resume = resume
  }

  complete(): void {
    this.settle({ kind: 'complete' })
  }

  fail(error: HelixError): void {
    this.settle({ kind: 'failed', error })
  }

  private settle(end: End): void {
    if (this.end) return
    this.end = end
    for (const [follower, place] of [...this.places]) this.serve(follower, place)
  }

  /** Hands over what there is, as far as the follower takes it. */
  private serve(follower: One, place: Place): void {
    while (!place.waiting && this.places.get(follower) === place) {
      const piece = this.pieces[place.next - this.first]
      if (!piece) break
      place.next++
      place.takenBytes += piece.length
      if (follower.take(piece)) continue
      place.waiting = true
      follower.drained(() => {
        place.waiting = false
        this.serve(follower, place)
        this.release()
      })
    }
    this.finish(follower, place)
  }

  private finish(follower: One, place: Place): void {
    const isThrough = place.next === this.first + this.pieces.length
    if (!this.end || !isThrough || this.places.get(follower) !== place) return
    this.places.delete(follower)
    if (this.end.kind === 'complete') follower.finished()
    else follower.failed(this.end.error)
  }

  /** Somebody takes more again, or has left. */
  private release(): void {
    if (!this.isWhole) this.trim()
    const { resume } = this
    if (!resume || (this.places.size > 0 && [...this.places.values()].every(({ waiting }) => waiting))) return
    this.resume = undefined
    resume()
  }

  private cutSlow(): void {
    const { bytesMax } = this.options
    for (const [follower, { takenBytes }] of [...this.places]) {
      if (this.totalBytes - takenBytes <= bytesMax) continue
      this.leave(follower)
      follower.failed(
        new HelixError('deadline_exceeded', 'The client reads more slowly than others who get this answer.'),
      )
    }
  }

  private trim(): void {
    const needed = Math.min(
      this.first + this.pieces.length,
      ...[...this.places.values()].map(({ next }) => next),
    )
    this.pieces = this.pieces.slice(needed - this.first)
    this.first = needed
  }
}
