import type { Clock } from '../core/clock.ts'
import { withinDeadline } from '../redis/deadline.ts'
import { EventRing, type RingBounds } from './event-ring.ts'
import { readEarlier, readHead } from './kept-head.ts'
import type { RedisChannels } from './redis-channels.ts'
import { RingStream } from './stream.ts'
import type { StreamEvent, StreamEventKind, Unrecoverable } from './stream-event.ts'
import type { StreamKeys } from './stream-keys.ts'
import type { StreamAnswer, StreamScripts } from './stream-scripts.ts'

export interface MirrorParts {
  readonly keys: StreamKeys
  readonly bounds: RingBounds
  /** How long it can be read after its end was seen. */
  readonly keepMs: number
  readonly scripts: StreamScripts
  readonly channels: RedisChannels
  readonly clock: Clock
  /** Names this gateway. */
  readonly gateway: string
  /** Whether a gateway lives; rejects when Redis does not answer. */
  readonly isAlive: (gateway: string) => Promise<boolean>
  /** Nobody reads it here any more. */
  readonly left: (mirror: Mirror) => void
  /** Nobody has read it for a while, or nothing follows. */
  readonly dropped: (mirror: Mirror) => void
  /** Its producer is gone for good, and somebody reads it. Told again with each poll while that is so. */
  readonly orphaned: (mirror: Mirror) => void
}

const POLL_MS = 1_000
/** How long it is known elsewhere that somebody reads here; renewed with each poll. */
const READER_LEASE_MS = 3_000
/** A producer without a lease for so long is gone. A Redis that stood still has lost the leases of the living, too. */
const ORPHAN_MS = 3_000
/** A mirror without readers is kept for so long. */
const IDLE_MS = 5_000
const EVENTS_MAX = 1_000
/** No generation waits for it, and there may be much to read. */
const READ_TIMEOUT_MS = 1_000

/** @returns undefined when Redis knows no such stream. @throws what Redis answers, or that it does not */
export async function openMirror(parts: MirrorParts): Promise<Mirror | undefined> {
  const answer = await readAfter(parts, { seq: 0, owner: '', reads: false })
  if (!answer) return undefined
  const mirror = new Mirror(parts, answer)
  await mirror.follow()
  return mirror
}

/** A stream of another gateway as the readers at this one see it. */
export class Mirror {
  readonly stream: RingStream
  /** Gateway of its producer. */
  owner = ''
  /** Nothing was read yet: the first event may be any. */
  private fresh = true
  private over = false
  /** What comes next is nowhere. */
  lost = false
  private reading: Promise<void> | undefined
  /** Something was told while a reading was under way. */
  private readAgain = false
  private orphanSinceMs: number | undefined
  private idleSinceMs: number
  private cancelPoll = () => {}
  private cancelExpiry = () => {}
  private endListening = () => {}

  constructor(
    private readonly parts: MirrorParts,
    first: StreamAnswer,
  ) {
    const { again: _, ...head } = readHead(first[4] ?? '')
    this.stream = new RingStream(head, new EventRing(parts.bounds), {
      attended: (isAttended) => this.attended(isAttended),
      read: () => {},
    })
    this.idleSinceMs = parts.clock.monotonic()
    this.apply(first)
  }

  /** Is told of what is new from here on, and reads what is not here yet. */
  async follow(): Promise<void> {
    const { channels, keys } = this.parts
    if (this.lost) return
    this.over = false
    this.schedule()
    const end = await channels.listen(keys.channel, () => void this.refresh().catch(() => {}))
    if (this.over) return end()
    this.endListening = end
    await this.refresh()
  }

  /** Its stream is left to whoever goes on with it. */
  close(): void {
    this.over = true
    this.cancelPoll()
    this.cancelExpiry()
    this.endListening()
    this.endListening = () => {}
  }

  /** What comes next is nowhere. */
  lose(reason: Unrecoverable): void {
    this.lost = true
    this.stream.lose(reason)
    this.drop()
  }

  /** Reads what is not here yet. @throws what Redis answers, or that it does not */
  refresh(): Promise<void> {
    if (this.over || this.stream.ended) return Promise.resolve()
    this.readAgain = true
    this.reading ??= this.readAll()
    return this.reading
  }

  private async readAll(): Promise<void> {
    try {
      while (this.readAgain && !this.over && !this.stream.ended) {
        this.readAgain = false
        await this.readOnce()
      }
    } finally {
      // In the same step as the last look: whoever asks after it must not be given this reading.
      this.reading = undefined
    }
  }

  private async readOnce(): Promise<void> {
    const { lastSeq: seq, readers } = this.stream
    const answer = await readAfter(this.parts, { seq, owner: this.owner, reads: readers > 0 })
    if (this.over) return
    if (answer) {
      this.apply(answer)
      if (answer[1] > this.stream.lastSeq) this.readAgain = true
    } else this.lose('gap')
  }

  private apply([owner, last, isLost, entries, head, earlier]: StreamAnswer): void {
    if (isLost) {
      this.lose('gap')
      return
    }
    if (head !== undefined) this.belongsTo(owner, head, earlier ?? '[]')
    for (const [id, fields] of entries) {
      const event = eventOf(id, fields)
      const { lastSeq } = this.stream
      if (event.seq <= lastSeq) continue
      if (event.seq !== lastSeq + 1 && !this.fresh) {
        this.lose('gap')
        return
      }
      this.fresh = false
      this.stream.show(event)
    }
    const { clock, keepMs } = this.parts
    if (this.stream.ended) this.cancelExpiry = clock.schedule(keepMs, () => this.lose('expired'))
    // There are more, and they are not kept.
    else if (entries.length === 0 && last > this.stream.lastSeq) this.lose('gap')
  }

  private belongsTo(owner: string, headText: string, earlierText: string): void {
    this.owner = owner
    const { again: _, ...head } = readHead(headText)
    const earlier = readEarlier(earlierText)
    this.stream.renew(head, earlier)
    // Events were seen here that the server lost before the new owner began.
    if ((earlier.at(-1)?.seq ?? 0) < this.stream.lastSeq && earlier.length > 0) this.lose('epoch')
  }

  private attended(isAttended: boolean): void {
    if (this.lost) return
    this.idleSinceMs = this.parts.clock.monotonic()
    // Also says elsewhere that somebody reads. A failure is made good by the poll.
    if (isAttended) (this.over && !this.stream.ended ? this.follow() : this.refresh()).catch(() => {})
    else this.parts.left(this)
  }

  private schedule(): void {
    this.cancelPoll()
    this.cancelPoll = this.parts.clock.schedule(POLL_MS, () => void this.poll())
  }

  private async poll(): Promise<void> {
    if (this.over) return
    const { clock } = this.parts
    if (this.stream.readers === 0 && clock.monotonic() - this.idleSinceMs >= IDLE_MS) return this.drop()
    this.schedule()
    if (this.stream.ended) return
    try {
      await this.refresh()
      await this.look()
    } catch {
      // Nobody can say who lives; those who are read from the next answer on have a whole span.
      this.orphanSinceMs = undefined
    }
  }

  private async look(): Promise<void> {
    const { clock, isAlive, orphaned } = this.parts
    const lives = await isAlive(this.owner)
    if (this.over || this.stream.ended) return
    if (lives) this.orphanSinceMs = undefined
    else this.orphanSinceMs ??= clock.monotonic()
    const isOrphan = this.orphanSinceMs !== undefined && clock.monotonic() - this.orphanSinceMs >= ORPHAN_MS
    // In whose name it is gone on with only a reader can say: whoever is away for a moment is waited for.
    if (isOrphan && this.stream.readers > 0) orphaned(this)
  }

  private drop(): void {
    this.close()
    this.parts.dropped(this)
  }
}

interface Wanted {
  readonly seq: number
  /** Whose it was when it was last read; of another the head is wanted. */
  readonly owner: string
  /** Whether somebody reads it at this gateway. */
  readonly reads: boolean
}

function readAfter(
  { scripts, keys, clock, gateway }: MirrorParts,
  { seq, owner, reads }: Wanted,
): Promise<StreamAnswer | null> {
  const words = [seq, EVENTS_MAX, owner, reads ? gateway : '', READER_LEASE_MS]
  const asked = scripts.hfStreamRead(keys.head, keys.events, keys.readers, ...words)
  return withinDeadline(clock, READ_TIMEOUT_MS, asked)
}

function eventOf(id: string, fields: readonly string[]): StreamEvent {
  const [, kind, , data = ''] = fields
  return { seq: Number.parseInt(id, 10), kind: kind as StreamEventKind, data }
}
