import type { HelixFlowError } from './helix-flow-error.ts'
import type { TopicMessage } from './messages.ts'
import type { TopicReader } from './topic-reader.ts'

/** One topic of a connection, for all who follow it here. */
export class TopicFeed {
  readonly readers = new Set<TopicReader>()
  /** Whether the server has taken it; then a new connection asks for it in its greeting. */
  active = false
  private position: { readonly epoch: string; readonly seq: number } | undefined
  /** Whether the update of that number has come itself, or is only known to be before those that follow. */
  private came = false

  constructor(readonly topic: string) {}

  /** Where to go on; of a topic whose newest value alone counts, that value is asked for until it has come. */
  get from(): { readonly epoch?: string; readonly seq?: number } {
    return this.position !== undefined && (this.came || !isLatest(this.topic)) ? this.position : {}
  }

  /** The server follows it for us, beginning after this number. */
  began(epoch: string | undefined, seq: number | undefined): void {
    this.active = true
    if (this.position === undefined && epoch !== undefined && seq !== undefined)
      this.position = { epoch, seq }
    for (const reader of this.readers) reader.began()
  }

  join(reader: TopicReader): void {
    this.readers.add(reader)
    if (this.active) reader.began()
  }

  accept({ topic, epoch, seq, data }: TopicMessage, size: number): void {
    const { position } = this
    if (this.came && position?.epoch === epoch && seq <= position.seq) return
    this.position = { epoch, seq }
    this.came = true
    for (const reader of this.readers) reader.accept({ topic, epoch, seq, data, missed: undefined }, size)
  }

  missed(reason: string): void {
    for (const reader of this.readers) reader.missed(reason)
  }

  end(error?: HelixFlowError): void {
    for (const reader of [...this.readers]) reader.end(error)
  }
}

/** Topics of which only the newest value counts; docs/realtime.md has the table. */
function isLatest(topic: string): boolean {
  return LATEST.has(topic) || topic.endsWith('/presence')
}

const LATEST = new Set(['models', 'devices', 'usage'])
