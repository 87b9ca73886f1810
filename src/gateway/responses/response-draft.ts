import type { Answer } from '../dispatch/exchange.ts'
import { OpenCall, type OpenItem, OpenMessage, OpenReasoning, type ResponseEvent } from './open-items.ts'
import {
  type OutputItem,
  outputItemId,
  type ResponseObject,
  type ResponseProgress,
  type ResponseUsage,
  type TokenLogprob,
} from './response-object.ts'

interface Draft {
  readonly item: OpenItem
  /** Set once nothing more can come to it. */
  final: OutputItem | undefined
}

/**
 * A response on its way, from the chunks of a chat completion: which events each chunk is, and what the response is at any
 * moment. Chunks may come from another's server: what has the wrong form is passed over.
 */
export class ResponseDraft {
  private readonly items: Draft[] = []
  private speaking: OpenMessage | undefined
  private thinking: OpenReasoning | undefined
  private readonly calls = new Map<number, OpenCall>()
  private finishReason: string | null = null
  private usage: ResponseUsage | null = null

  constructor(private readonly initial: ResponseObject) {}

  /** Why the model ended, as chat completions have it. */
  get finish(): string | null {
    return this.finishReason
  }

  chunk({ choices, usage }: Answer): readonly ResponseEvent[] {
    if (isObject(usage)) this.usage = toUsage(usage)
    const choice: unknown = Array.isArray(choices) ? choices[0] : undefined
    if (!isObject(choice)) return []
    const { delta, finish_reason: finish, logprobs } = choice
    if (typeof finish === 'string') this.finishReason = finish
    const tokens = isObject(logprobs) ? toLogprobs(logprobs['content']) : []
    return isObject(delta) ? this.delta(delta, tokens) : []
  }

  /** The model has ended: closes what is open. An answer without a word is an empty message. */
  complete(): readonly ResponseEvent[] {
    const events: ResponseEvent[] = []
    if (this.items.length === 0) this.say(events)
    events.push(...this.closeAll(this.isCut ? 'incomplete' : 'completed'))
    return events
  }

  /** The whole of it, once `complete` has closed its items. */
  completed(nowMs: number): ResponseObject {
    const reason = this.finishReason === 'length' ? 'max_output_tokens' : 'content_filter'
    return this.as(
      this.isCut
        ? { status: 'incomplete', incomplete_details: { reason } }
        : { status: 'completed', completed_at: Math.floor(nowMs / 1000) },
    )
  }

  /** The response at this moment. */
  as(progress: Partial<ResponseProgress>): ResponseObject {
    const output = this.items.map(({ item, final }) => final ?? item.item('incomplete'))
    return { ...this.initial, output, usage: this.usage, ...progress }
  }

  private get isCut(): boolean {
    return this.finishReason === 'length' || this.finishReason === 'content_filter'
  }

  private delta(delta: Answer, logprobs: readonly TokenLogprob[]): readonly ResponseEvent[] {
    const { content, reasoning_content: thought, tool_calls: calls } = delta
    const events: ResponseEvent[] = []
    if (typeof thought === 'string' && thought !== '') events.push(this.think(events).delta(thought))
    const isText = typeof content === 'string' && content !== ''
    const isCalling = this.calls.size > 0 || (Array.isArray(calls) && calls.length > 0)
    // Tokens without text are those of a thought or a call, or else half of a letter of what is said.
    if (isText || (logprobs.length > 0 && !this.thinking && !isCalling)) {
      const message = this.say(events)
      message.note(logprobs)
      if (isText) events.push(message.delta(content))
    }
    if (Array.isArray(calls)) for (const call of calls) if (isObject(call)) this.call(call, events)
    return events
  }

  private think(events: ResponseEvent[]): OpenReasoning {
    if (this.thinking) return this.thinking
    events.push(...this.closeTalk())
    const thinking = new OpenReasoning(this.place('rs'))
    this.thinking = thinking
    events.push(...this.open(thinking))
    return thinking
  }

  private say(events: ResponseEvent[]): OpenMessage {
    if (this.speaking) return this.speaking
    events.push(...this.closeTalk())
    const speaking = new OpenMessage(this.place('msg'))
    this.speaking = speaking
    events.push(...this.open(speaking))
    return speaking
  }

  private call({ index, id, function: called }: Answer, events: ResponseEvent[]): void {
    const at = typeof index === 'number' ? index : 0
    const { name, arguments: text } = isObject(called) ? called : {}
    const given = typeof name === 'string' ? name : ''
    let open = this.calls.get(at)
    if (open) open.rename(given)
    else {
      events.push(...this.closeTalk())
      const place = this.place('fc')
      open = new OpenCall(place, typeof id === 'string' && id !== '' ? id : `call_${place.id}`, given)
      this.calls.set(at, open)
      events.push(...this.open(open))
    }
    if (typeof text === 'string' && text !== '') events.push(open.delta(text))
  }

  private open(item: OpenItem): readonly ResponseEvent[] {
    this.items.push({ item, final: undefined })
    return item.opened()
  }

  /** Words and thoughts end where something else begins. Calls may grow beside each other until the end. */
  private closeTalk(): readonly ResponseEvent[] {
    const talk: readonly (OpenItem | undefined)[] = [this.speaking, this.thinking]
    this.speaking = undefined
    this.thinking = undefined
    return this.items.flatMap((draft) => (talk.includes(draft.item) ? close(draft, 'completed') : []))
  }

  private closeAll(status: 'completed' | 'incomplete'): readonly ResponseEvent[] {
    return this.items.flatMap((draft) => (draft.final ? [] : close(draft, status)))
  }

  private place(prefix: 'msg' | 'fc' | 'rs') {
    const outputIndex = this.items.length
    return { id: outputItemId(prefix, this.initial.id, outputIndex), outputIndex }
  }
}

function close(draft: Draft, status: 'completed' | 'incomplete'): readonly ResponseEvent[] {
  const events = draft.item.closed(status)
  draft.final = draft.item.item(status)
  return events
}

function toUsage(usage: Answer): ResponseUsage {
  const { prompt_tokens_details: prompt, completion_tokens_details: completion } = usage
  const input = count(usage['prompt_tokens'])
  const output = count(usage['completion_tokens'])
  return {
    input_tokens: input,
    input_tokens_details: {
      cached_tokens: isObject(prompt) ? count(prompt['cached_tokens']) : 0,
      cache_write_tokens: 0,
    },
    output_tokens: output,
    output_tokens_details: {
      reasoning_tokens: isObject(completion) ? count(completion['reasoning_tokens']) : 0,
    },
    total_tokens: input + output,
  }
}

function toLogprobs(content: unknown): readonly TokenLogprob[] {
  return list(content).map((one) => ({
    ...toLogprob(one),
    top_logprobs: list(one['top_logprobs']).map(toLogprob),
  }))
}

function toLogprob({ token, logprob, bytes }: Answer) {
  return {
    token: typeof token === 'string' ? token : '',
    logprob: typeof logprob === 'number' ? logprob : 0,
    bytes: Array.isArray(bytes) ? (bytes as readonly number[]) : [],
  }
}

function list(value: unknown): readonly Answer[] {
  return Array.isArray(value) ? value.filter(isObject) : []
}

function isObject(value: unknown): value is Answer {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function count(value: unknown): number {
  return typeof value === 'number' ? value : 0
}
