export interface GenerationOptions {
  /** Aborting it cancels the generation. */
  readonly signal?: AbortSignal | undefined
  /** How long the generation goes on while no connection listens, 0 to 600000; 30000 unless said otherwise. */
  readonly detachMs?: number | undefined
  /** Your own name for it: the same within ten minutes is the same generation, at any gateway. */
  readonly id?: string | undefined
}

/** How far a stream has come; with it another client of the same tenant can go on. */
export interface Position {
  readonly stream: string
  readonly epoch: string
  readonly seq: number
}

export interface GenerationResult<Usage> {
  /** The whole text of the first choice, proved against the server's hash of it. */
  readonly text: string
  readonly usage: Usage | undefined
  readonly finishReason: string | undefined
  /** Of the answer, as the HTTP interface has it. */
  readonly responseId: string
  readonly model: string
  /** What ended it in the Responses API; undefined for a chat. */
  readonly last: ResponseEvent | undefined
}

/**
 * One generation. Read it as events, as text, or only for its result; a break of the connection is not seen. Events that
 * nobody takes are kept up to a bound, then left with the server, and fetched from there when they are taken again.
 */
export interface GenerationStream<Event, Usage> extends AsyncIterable<Event> {
  readonly id: string
  /** Undefined until the server has taken the request. */
  readonly position: Position | undefined
  /** @throws HelixFlowError; `integrity` when the text is not what the server generated */
  readonly result: Promise<GenerationResult<Usage>>
  /** The text of the first choice, as it comes. Leaving the loop cancels, as it does for events. */
  text(): AsyncIterable<string>
  cancel(): void
}

export type ChatStream = GenerationStream<ChatEvent, ChatUsage>
export type ResponseStream = GenerationStream<ResponseEvent, ResponseUsage>

export type ChatEvent =
  | {
      readonly type: 'start'
      readonly seq: number
      readonly responseId: string
      readonly model: string
      readonly created: number
    }
  | { readonly type: 'text'; readonly seq: number; readonly text: string; readonly choice: number }
  /** Whatever is not plain text: tool calls, log probabilities, why a choice ended. */
  | { readonly type: 'chunk'; readonly seq: number; readonly chunk: ChatChunk }
  | {
      readonly type: 'end'
      readonly seq: number
      readonly finishReason: string | undefined
      readonly usage: ChatUsage | undefined
    }

/** A chunk as OpenAI's HTTP interface streams it. */
export interface ChatChunk {
  readonly id: string
  readonly model: string
  readonly created: number
  readonly choices: readonly {
    readonly index: number
    readonly delta: {
      readonly role?: string
      readonly content?: string | null
      readonly reasoning_content?: string | null
      readonly tool_calls?: readonly {
        readonly index: number
        readonly id?: string
        readonly type?: 'function'
        readonly function?: { readonly name?: string; readonly arguments?: string }
      }[]
    }
    readonly finish_reason?: string | null
    readonly logprobs?: unknown
  }[]
}

export interface ChatUsage {
  readonly prompt_tokens: number
  readonly completion_tokens: number
  readonly total_tokens: number
}

/** An event of OpenAI's Responses API, as it is. */
export interface ResponseEvent {
  readonly type: string
  readonly sequence_number: number
  readonly [field: string]: unknown
}

export interface ResponseUsage {
  readonly input_tokens: number
  readonly output_tokens: number
  readonly total_tokens: number
}
