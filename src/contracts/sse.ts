const NEWLINE = 10
const CARRIAGE_RETURN = 13

/** A server-sent event that carries this value as JSON. */
export function frame(value: unknown): string {
  return `data: ${JSON.stringify(value)}\n\n`
}

export const DONE_FRAME = 'data: [DONE]\n\n'

/** A line that clients skip; keeps proxies and their timeouts content. */
export function comment(text: string): string {
  return `: ${text.replaceAll(/[\r\n]+/g, ' ')}\n\n`
}

/**
 * Cuts a byte stream into whole server-sent events, each with the blank line that ends it. Bytes are not copied
 * unless an event is spread over several chunks.
 */
export class EventSplitter {
  private rest: Buffer | undefined
  /** What came after `rest` without any line end; joined only when one comes, or a long line would cost its square. */
  private tail: Buffer[] = []
  private tailBytes = 0

  /** @param bytesMax an event may not be longer; a longer one is an answer that is no event stream */
  constructor(private readonly bytesMax: number) {}

  /** The events that this chunk completes; undefined when an event outgrows its bound. */
  push(chunk: Buffer): Buffer[] | undefined {
    if (this.rest && !chunk.includes(NEWLINE)) {
      this.tail.push(chunk)
      this.tailBytes += chunk.length
      return this.rest.length + this.tailBytes > this.bytesMax ? undefined : []
    }
    const bytes = this.rest ? Buffer.concat([this.rest, ...this.tail, chunk]) : chunk
    this.tail = []
    this.tailBytes = 0
    const events: Buffer[] = []
    let start = 0
    for (let end = endOfEvent(bytes, 0); end >= 0; end = endOfEvent(bytes, start)) {
      events.push(bytes.subarray(start, end))
      start = end
    }
    this.rest = start < bytes.length ? bytes.subarray(start) : undefined
    return (this.rest?.length ?? 0) > this.bytesMax ? undefined : events
  }

  /** Whether the next chunk begins with a new event. */
  get atStart(): boolean {
    return this.rest === undefined
  }

  /** Whether the stream stopped in the middle of an event. */
  get incomplete(): boolean {
    return this.rest?.some((byte) => byte !== NEWLINE && byte !== CARRIAGE_RETURN) ?? false
  }
}

/** The index after the blank line that ends the event which starts at `from`; -1 while there is none. */
function endOfEvent(bytes: Buffer, from: number): number {
  for (let at = bytes.indexOf(NEWLINE, from); at >= 0; at = bytes.indexOf(NEWLINE, at + 1)) {
    if (bytes[at + 1] === NEWLINE) return at + 2
    if (bytes[at + 1] === CARRIAGE_RETURN && bytes[at + 2] === NEWLINE) return at + 3
  }
  return -1
}

/** The `data` of an event as text; undefined for comments and events without data. */
export function eventData(event: Buffer): string | undefined {
  // The common shape, one data line, without building an array of lines.
  if (event.toString('latin1', 0, 6) === 'data: ' && event.indexOf(NEWLINE) === event.length - 2) {
    return event.toString('utf8', 6, event.length - 2)
  }
  const lines = event
    .toString('utf8')
    .split(/\r?\n/)
    .filter((line) => line.startsWith('data:'))
    .map((line) => line.slice(5).replace(/^ /, ''))
  return lines.length > 0 ? lines.join('\n') : undefined
}
