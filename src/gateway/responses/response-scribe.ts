import type { HelixError } from '../../core/errors.ts'
import type { StreamWriter } from '../../streams/stream.ts'
import type { StreamEventKind } from '../../streams/stream-event.ts'
import type { Answer } from '../dispatch/exchange.ts'
import { errorFields } from '../streaming/chat-scribe.ts'
import type { Scribe } from '../streaming/scribe.ts'
import { TextHash } from '../streaming/text-hash.ts'
import type { ResponseEvent } from './open-items.ts'
import { ResponseDraft } from './response-draft.ts'
import { type ResponseObject, responseError } from './response-object.ts'

export interface ResponseScribeParts {
  readonly writer: StreamWriter
  /** Before anything was made. */
  readonly response: ResponseObject
  readonly now: () => number
  /** Told when it is in progress. */
  begun(response: ResponseObject): void
  /**
   * Keeps the response that has ended, before anybody is told that it has; resolves with what they are told. Never
   * rejects.
   */
  keep(response: ResponseObject): Promise<ResponseObject>
}

/**
 * A response as events of its API, each one event of the stream. Nothing is written before the model begins, so that a
 * request that fails until then is refused and not a response; one in the background is told as queued at once.
 */
export class ResponseScribe implements Scribe {
  written = Promise.resolve()
  private readonly draft: ResponseDraft
  private readonly text = new TextHash()
  private started = false
  private begun = false
  private over = false

  constructor(private readonly parts: ResponseScribeParts) {
    this.draft = new ResponseDraft(parts.response)
    if (parts.response.status !== 'queued') return
    this.start()
    this.event({ type: 'response.queued', response: parts.response })
  }

  chunk(chunk: Answer): void {
    if (!this.begun) this.begin()
    for (const event of this.draft.chunk(chunk)) this.event(event)
  }

  complete(): void {
    if (this.over) return
    this.over = true
    if (!this.begun) this.begin()
    for (const event of this.draft.complete()) this.event(event)
    this.finish(this.draft.completed(this.parts.now()), (response) => {
      const { status, usage } = response
      this.append(
        'end',
        { type: `response.${status}`, response },
        {
          last_seq: this.parts.writer.nextSeq,
          finish_reason: this.draft.finish,
          usage,
          sha256: this.text.finish(),
        },
      )
    })
  }

  fail(error: HelixError): void {
    if (this.over) return
    this.over = true
    if (!this.started) {
      this.parts.writer.append('error', JSON.stringify(errorFields(error)))
      return
    }
    // Whoever cancels, or leaves, is not told of a failure.
    const failed = this.draft.as(
      error.code === 'client_closed_request'
        ? { status: 'cancelled' }
        : { status: 'failed', error: responseError(error) },
    )
    this.finish(failed, (response) => {
      this.append('error', { type: 'response.failed', response }, errorFields(error))
    })
  }

  private finish(response: ResponseObject, write: (response: ResponseObject) => void): void {
    this.written = this.parts.keep(response).then(write)
  }

  private begin(): void {
    this.begun = true
    const response = this.draft.as({ status: 'in_progress' })
    if (!this.started) this.start()
    this.event({ type: 'response.in_progress', response })
    this.parts.begun(response)
  }

  private start(): void {
    this.started = true
    const { response } = this.parts
    const { id, model, created_at } = response
    const fields = { kind: 'response', response_id: id, model, created: created_at }
    this.append('start', { type: 'response.created', response }, fields)
  }

  private event(event: ResponseEvent): void {
    const text = event.type === 'response.output_text.delta' ? String(event['delta']) : undefined
    if (text !== undefined) this.text.add(text)
    this.append('event', event, { text })
  }

  private append(kind: StreamEventKind, { type, ...event }: ResponseEvent, fields: object): void {
    const { writer } = this.parts
    const data = { type, sequence_number: writer.nextSeq - 1, ...event }
    writer.append(kind, JSON.stringify({ ...fields, data }))
  }
}
