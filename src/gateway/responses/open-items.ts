import type { OutputItem, TextPart, TokenLogprob } from './response-object.ts'

/** One event of the Responses API, without its number. */
export interface ResponseEvent {
  readonly type: string
  readonly [field: string]: unknown
}

/** Where an item stands. */
export interface ItemPlace {
  readonly id: string
  readonly outputIndex: number
}

type FinalStatus = 'completed' | 'incomplete'

/** An item that still grows: what it is said to be at its beginning, at each piece, and at its end. */
export interface OpenItem {
  opened(): readonly ResponseEvent[]
  closed(status: FinalStatus): readonly ResponseEvent[]
  item(status: FinalStatus): OutputItem
}

abstract class Item implements OpenItem {
  constructor(protected readonly place: ItemPlace) {}

  abstract item(status: OutputItem['status']): OutputItem
  abstract opened(): readonly ResponseEvent[]
  abstract closed(status: FinalStatus): readonly ResponseEvent[]

  protected get head() {
    return { item_id: this.place.id, output_index: this.place.outputIndex }
  }

  protected added(item: OutputItem): ResponseEvent {
    return { type: 'response.output_item.added', output_index: this.place.outputIndex, item }
  }

  protected done(status: FinalStatus): ResponseEvent {
    return {
      type: 'response.output_item.done',
      output_index: this.place.outputIndex,
      item: this.item(status),
    }
  }
}

/** What the model says. */
export class OpenMessage extends Item {
  private text = ''
  private readonly logprobs: TokenLogprob[] = []
  /** Of tokens that are no text yet: half of a letter. */
  private untold: TokenLogprob[] = []

  opened(): readonly ResponseEvent[] {
    const part: TextPart = { type: 'output_text', text: '', annotations: [], logprobs: [] }
    return [
      this.added({ ...this.message('in_progress'), content: [] }),
      { type: 'response.content_part.added', ...this.head, content_index: 0, part },
    ]
  }

  note(logprobs: readonly TokenLogprob[]): void {
    this.logprobs.push(...logprobs)
    this.untold.push(...logprobs)
  }

  delta(text: string): ResponseEvent {
    this.text += text
    const logprobs = this.untold.map(withoutBytes)
    this.untold = []
    return { type: 'response.output_text.delta', ...this.head, content_index: 0, delta: text, logprobs }
  }

  closed(status: FinalStatus): readonly ResponseEvent[] {
    const { text, head } = this
    const logprobs = this.logprobs.map(withoutBytes)
    return [
      { type: 'response.output_text.done', ...head, content_index: 0, text, logprobs },
      { type: 'response.content_part.done', ...head, content_index: 0, part: this.part },
      this.done(status),
    ]
  }

  item(status: OutputItem['status']): OutputItem {
    return this.message(status)
  }

  private message(status: OutputItem['status']) {
    const { id } = this.place
    return { id, type: 'message', status, role: 'assistant', content: [this.part] } as const
  }

  private get part(): TextPart {
    return { type: 'output_text', text: this.text, annotations: [], logprobs: this.logprobs }
  }
}

/** What the model thinks before it speaks, where the engine tells it apart. */
export class OpenReasoning extends Item {
  private text = ''

  opened(): readonly ResponseEvent[] {
    const part = { type: 'reasoning_text', text: '' }
    return [
      this.added({ ...this.reasoning('in_progress'), content: [] }),
      { type: 'response.content_part.added', ...this.head, content_index: 0, part },
    ]
  }

  delta(text: string): ResponseEvent {
    this.text += text
    return { type: 'response.reasoning_text.delta', ...this.head, content_index: 0, delta: text }
  }

  closed(status: FinalStatus): readonly ResponseEvent[] {
    const { text, head } = this
    return [
      { type: 'response.reasoning_text.done', ...head, content_index: 0, text },
      {
        type: 'response.content_part.done',
        ...head,
        content_index: 0,
        part: { type: 'reasoning_text', text },
      },
      this.done(status),
    ]
  }

  item(status: OutputItem['status']): OutputItem {
    return this.reasoning(status)
  }

  private reasoning(status: OutputItem['status']) {
    const content = [{ type: 'reasoning_text', text: this.text }] as const
    return { id: this.place.id, type: 'reasoning', status, summary: [], content } as const
  }
}

/** A function that the model calls. */
export class OpenCall extends Item {
  private arguments = ''

  constructor(
    place: ItemPlace,
    private readonly callId: string,
    private name: string,
  ) {
    super(place)
  }

  /** Some engines send a name in pieces. */
  rename(more: string): void {
    this.name += more
  }

  opened(): readonly ResponseEvent[] {
    return [this.added(this.item('in_progress'))]
  }

  delta(text: string): ResponseEvent {
    this.arguments += text
    return { type: 'response.function_call_arguments.delta', ...this.head, delta: text }
  }

  closed(status: FinalStatus): readonly ResponseEvent[] {
    // Some engines say nothing for a function without parameters; what comes back to us has to be JSON.
    const rest = status === 'completed' && this.arguments === '' ? [this.delta('{}')] : []
    const { name, arguments: all } = this
    return [
      ...rest,
      { type: 'response.function_call_arguments.done', ...this.head, name, arguments: all },
      this.done(status),
    ]
  }

  item(status: OutputItem['status']): OutputItem {
    const { callId: call_id, name, arguments: all } = this
    return { id: this.place.id, type: 'function_call', status, call_id, name, arguments: all }
  }
}

/** Events say less of a token than the item does. */
function withoutBytes({ token, logprob, top_logprobs }: TokenLogprob) {
  return {
    token,
    logprob,
    top_logprobs: top_logprobs.map((one) => ({ token: one.token, logprob: one.logprob })),
  }
}
