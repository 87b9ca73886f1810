import type { Unrecoverable } from './stream-event.ts'
import type { TopicEvent, TopicFollower, TopicKind, TopicPosition } from './topics.ts'

/** A topic as it is kept at one moment. */
export interface TopicState {
  readonly epoch: string
  readonly seq: number
  /** Undefined: nothing was published yet. */
  readonly kind: TopicKind | undefined
  /** The newest, in order; of a `latest` topic one. */
  readonly events: readonly TopicEvent[]
}

/** What a new follower is given first. */
export interface Backlog {
  readonly events: readonly TopicEvent[]
  /** Why it is not all that was missed. */
  readonly reason: Unrecoverable | undefined
}

/** All that came after a position, or why that cannot be given: never a part. */
export function backlogOf(
  { epoch, seq, kind, events }: TopicState,
  position: TopicPosition | undefined,
): Backlog {
  const same = position?.epoch === epoch
  if (kind === 'latest') {
    const known = same && position.seq === seq
    return { events: known ? [] : events.slice(-1), reason: undefined }
  }
  if (!position) return { events: [], reason: undefined }
  if (!same) return { events: [], reason: 'epoch' }
  const missed = events.filter((event) => event.seq > position.seq)
  const isWhole = position.seq <= seq && missed.length === seq - position.seq
  return isWhole ? { events: missed, reason: undefined } : { events: [], reason: 'gap' }
}

/** Who follows one topic at this gateway, and how far they were told. */
export class TopicFeed {
  /** Undefined until the topic's state is known here. */
  epoch: string | undefined
  seq = 0
  private readonly followers = new Set<HeldFollower>()

  constructor(private readonly changed: () => void = () => {}) {}

  get size(): number {
    return this.followers.size
  }

  /** @param event the next one, or a newer one of a topic of which only that counts */
  deliver(event: TopicEvent): void {
    this.seq = event.seq
    for (const one of [...this.followers]) one.hold(() => one.follower.event(event))
  }

  /** Goes on with what is kept; where something is missing, followers hear of it first. */
  catchUp({ epoch, seq, kind, events }: TopicState): void {
    if (this.epoch === undefined) {
      this.epoch = epoch
      this.seq = seq
      return
    }
    const isNew = this.epoch !== epoch
    if (isNew) {
      this.epoch = epoch
      this.seq = 0
      this.gap('epoch')
    }
    const newer = events.filter((event) => event.seq > this.seq)
    if (kind === 'latest') newer.splice(0, newer.length - 1)
    else if (!isNew && seq > this.seq && newer[0]?.seq !== this.seq + 1) this.gap('gap')
    for (const event of newer) this.deliver(event)
    // What was told may be newer than what was read.
    this.seq = Math.max(seq, this.seq)
  }

  /** @returns what ends it */
  join(follower: TopicFollower, backlog: readonly TopicEvent[]): () => void {
    const held = new HeldFollower(follower)
    for (const event of backlog) held.hold(() => follower.event(event))
    this.followers.add(held)
    this.changed()
    return () => {
      if (!this.followers.delete(held)) return
      held.end()
      this.changed()
    }
  }

  private gap(reason: Unrecoverable): void {
    for (const one of [...this.followers]) one.hold(() => one.follower.gap(reason))
  }
}

/** Is given nothing until whoever began to follow can have said so. */
class HeldFollower {
  private held: (() => void)[] | undefined = []
  private ended = false

  constructor(readonly follower: TopicFollower) {
    setImmediate(() => this.release())
  }

  hold(give: () => void): void {
    if (this.ended) return
    if (this.held) this.held.push(give)
    else give()
  }

  end(): void {
    this.ended = true
  }

  private release(): void {
    const { held = [] } = this
    this.held = undefined
    for (const give of held) if (!this.ended) give()
  }
}
