import type { ErrorBody, HelixError } from '../../core/errors.ts'
import type { StreamWriter } from '../../streams/stream.ts'
import type { Answer } from '../dispatch/exchange.ts'
import type { Scribe } from './scribe.ts'
import { TextHash } from './text-hash.ts'

interface Choice {
  readonly index?: number
  readonly delta?: Readonly<Record<string, unknown>>
  readonly finish_reason?: string | null
  readonly logprobs?: unknown
}

/**
 * A chat completion as events: plain text becomes deltas, everything else goes as the chunk that it came in. The hash at
 * the end is of the text of the first choice.
 */
export class ChatScribe implements Scribe {
  private readonly text = new TextHash()
  private finishReason: string | null = null
  private usage: unknown = null
  private started = false
  private over = false

  constructor(private readonly writer: StreamWriter) {}

  chunk(chunk: Answer): void {
    const choices = (Array.isArray(chunk['choices']) ? chunk['choices'] : []) as readonly Choice[]
    if (!this.started) this.start(chunk)
    if (chunk['usage'] !== undefined && chunk['usage'] !== null) this.usage = chunk['usage']
    const [choice] = choices
    if (!choice) return
    if (choices.length > 1) this.event(chunk, choices)
    else if (isPlainText(choice)) this.delta(choice)
    else if (!isOpening(choice)) this.event(chunk, choices)
  }

  complete(): void {
    this.close('end', {
      last_seq: this.writer.nextSeq,
      finish_reason: this.finishReason,
      usage: this.usage,
      sha256: this.text.finish(),
    })
  }

  fail(error: HelixError): void {
    this.close('error', errorFields(error))
  }

  private start({ id, model, created, system_fingerprint }: Answer): void {
    this.started = true
    this.append('start', { kind: 'chat', response_id: id, model, created, system_fingerprint })
  }

  private delta({ index = 0, delta }: Choice): void {
    const text = String(delta?.['content'])
    if (index === 0) this.text.add(text)
    this.append('delta', index === 0 ? { text } : { text, choice: index })
  }

  private event(chunk: Answer, choices: readonly Choice[]): void {
    const first = choices.find(({ index = 0 }) => index === 0)
    const content = first?.delta?.['content']
    const text = typeof content === 'string' && content !== '' ? content : undefined
    if (text !== undefined) this.text.add(text)
    this.finishReason = first?.finish_reason ?? this.finishReason
    this.append('event', { text, data: chunk })
  }

  private close(kind: 'end' | 'error', fields: object): void {
    if (this.over) return
    this.over = true
    this.append(kind, fields)
  }

  private append(kind: Parameters<StreamWriter['append']>[0], fields: object): void {
    this.writer.append(kind, JSON.stringify(fields))
  }
}

interface FailureFields extends ErrorBody {
  readonly status: number
  readonly retryable: boolean
  readonly retry_after_ms?: number
}

/** A failure as every message about one has it. */
export function errorFields(error: HelixError): FailureFields {
  return {
    ...error.toBody(),
    status: error.status,
    retryable: error.retryable,
    ...(error.retryable && error.retryAfterMs !== undefined ? { retry_after_ms: error.retryAfterMs } : {}),
  }
}

/** Text and nothing else. */
function isPlainText({ delta, finish_reason, logprobs }: Choice): boolean {
  if (!delta || finish_reason || logprobs) return false
  const names = Object.keys(delta)
  return names.length === 1 && typeof delta['content'] === 'string'
}

/** It only says that the assistant speaks, which goes without saying. */
function isOpening({ index = 0, delta, finish_reason, logprobs }: Choice): boolean {
  if (index !== 0 || !delta || finish_reason || logprobs) return false
  return Object.entries(delta).every(([name, value]) => name === 'role' || value === null || value === '')
}
