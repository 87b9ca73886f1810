import { DONE_FRAME, EventSplitter, eventData, frame } from '../../contracts/sse.ts'
import { HelixError } from '../../core/errors.ts'
import { streamedError } from './denial.ts'
import type { Answer, Exchange, Rewrite } from './exchange.ts'
import { type Usage, UsageTally, usageField } from './usage.ts'

const EVENT_BYTES_MAX = 16 * 2 ** 20

/**
 * What goes from the engine's event stream to the client's. Events pass as the bytes they came in; only those that
 * carry usage, an error, the end, or nothing at all are looked into. The engine is always asked for usage; the client
 * gets one usage chunk at the end, and only if it asked.
 */
export class StreamFilter {
  /** The stream said that it is complete. */
  done = false
  /** The engine reported a failure inside the stream. */
  failure: HelixError | undefined
  private events = 0
  private readonly splitter = new EventSplitter(EVENT_BYTES_MAX)
  private readonly tally = new UsageTally()
  private head: Answer | undefined

  constructor(
    private readonly exchange: Exchange,
    private readonly rewrite: Rewrite | undefined,
  ) {}

  /** The bytes to send on; empty when there are none yet. */
  push(chunk: Buffer): Buffer {
    // Mostly a chunk is one or more whole events with nothing to look into: no cutting, no copying.
    if (!this.rewrite && this.splitter.atStart && this.passes(chunk)) return chunk
    const events = this.splitter.push(chunk)
    if (!events) {
      this.failure = new HelixError(
        'upstream_invalid_response',
        'The engine sent an event that is too large.',
      )
      return EMPTY
    }
    const out: Buffer[] = []
    for (const event of events) {
      if (this.done || this.failure) break
      if (!this.rewrite && this.passes(event)) out.push(event)
      else for (const text of this.looked(event)) out.push(Buffer.from(text))
    }
    return out.length === 1 && out[0] ? out[0] : Buffer.concat(out)
  }

  usage(): Usage | undefined {
    return this.tally.total()
  }

  /** Pieces of the answer that came so far; llama-server sends one for each token, after one that only opens a choice. */
  get pieces(): number {
    return Math.max(0, this.events - (isOpening(this.head) ? this.exchange.choices : 0))
  }

  /** Whether bytes can go on as they are: whole events with JSON, none with usage, an error or the end. */
  private passes(bytes: Buffer): boolean {
    if (this.done || this.failure) return false
    const events = wholeChunks(bytes)
    if (events === 0) return false
    // Inside of strings the quotes of these would be escaped.
    if (bytes.includes('"usage":{') || bytes.includes('"usage": {') || bytes.includes('"error"')) return false
    this.head ??= parseChunk(firstEvent(bytes))
    if (this.head === undefined) return false
    this.events += events
    return true
  }

  private looked(event: Buffer): string[] {
    const data = eventData(event)
    if (data === undefined) return isSilent(event) ? [event.toString('utf8')] : this.invalid()
    if (data === '[DONE]') return this.end()
    const chunk = parseChunk(event)
    // llama-server opens the stream of a completion with `data: null`.
    if (!chunk) return data === 'null' ? [] : this.invalid()
    if (chunk['error'] !== undefined && chunk['error'] !== null) return this.failed(data)
    this.head ??= chunk
    this.events += 1
    return this.withoutUsage(chunk).flatMap((one) => this.rewritten(one).map(frame))
  }

  private rewritten(chunk: Answer): readonly Answer[] {
    return this.rewrite ? this.rewrite.chunk(chunk) : [chunk]
  }

  private withoutUsage(chunk: Answer): Answer[] {
    const { usage, timings: _, ...rest } = chunk
    if (usage === undefined || usage === null) return [chunk]
    const choices = Array.isArray(chunk['choices']) ? chunk['choices'] : []
    this.tally.add(usage, Math.floor(choiceIndex(choices[0]) / this.exchange.choicesPerPrompt))
    return choices.length > 0 ? [rest] : []
  }

  private end(): string[] {
    this.done = true
    const total = this.tally.total()
    if (!this.exchange.includeUsage || !total) return [DONE_FRAME]
    return [usageFrame(this.head, total), DONE_FRAME]
  }

  private failed(data: string): string[] {
    // One prompt of several that is too long: the others have begun already.
    this.failure = streamedError(Buffer.from(data), this.exchange)
    return []
  }

  private invalid(): string[] {
    this.failure = new HelixError(
      'upstream_invalid_response',
      'The engine sent an event that cannot be read.',
    )
    return []
  }
}

/** The event that tells what a stream cost, for who asked for it. @param head a chunk of the same stream */
export function usageFrame(head: Answer | undefined, usage: Usage): string {
  return frame({ ...identityOf(head), choices: [], usage: usageField(usage) })
}

const EMPTY = Buffer.alloc(0)
const NEWLINE = 10
const LETTER_D = 100
const OPENING_BRACE = 123
const CLOSING_BRACE = 125

/** Whether an event without data is one at all: comments, and fields that clients skip. */
function isSilent(event: Buffer): boolean {
  return event
    .toString('utf8')
    .split(/\r?\n/)
    .every((line) => line === '' || /^(:|event:|id:|retry:)/.test(line))
}

/** How many events all of it is, each of one line from `data: {` to `}`; 0 when it is anything else. */
function wholeChunks(bytes: Buffer): number {
  let events = 0
  for (let start = 0; start < bytes.length; events++) {
    const end = bytes.indexOf(NEWLINE, start)
    if (end < 0 || bytes[start + 6] !== OPENING_BRACE || bytes[end - 1] !== CLOSING_BRACE) return 0
    if (bytes[start] !== LETTER_D || bytes[end + 1] !== NEWLINE) return 0
    start = end + 2
  }
  return events
}

function firstEvent(bytes: Buffer): Buffer {
  return bytes.subarray(0, bytes.indexOf('\n\n') + 2)
}

function parseChunk(event: Buffer): Answer | undefined {
  try {
    const value: unknown = JSON.parse(eventData(event) ?? '')
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Answer)
      : undefined
  } catch {
    return undefined
  }
}

function choiceIndex(choice: unknown): number {
  const index = (choice as { readonly index?: unknown } | undefined)?.index
  return typeof index === 'number' ? index : 0
}

function isOpening(chunk: Answer | undefined): boolean {
  const choices = chunk?.['choices']
  const delta = (Array.isArray(choices) ? choices[0] : undefined)?.delta
  return delta?.role !== undefined && !delta.content && !delta.reasoning_content && !delta.tool_calls
}

function identityOf(chunk: Answer | undefined): Answer {
  const { id, object, created, model, system_fingerprint } = chunk ?? {}
  return { id, object, created, model, system_fingerprint }
}
