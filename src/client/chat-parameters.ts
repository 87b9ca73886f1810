/** The body of `/v1/chat/completions`, without `stream`. A test holds it against the schema of the server. */
export interface ChatParameters {
  readonly model: string
  readonly messages: readonly ChatMessage[]
  readonly n?: number | null
  readonly seed?: number | null
  readonly temperature?: number | null
  readonly top_p?: number | null
  readonly top_k?: number | null
  readonly min_p?: number | null
  readonly presence_penalty?: number | null
  readonly frequency_penalty?: number | null
  readonly logit_bias?: Readonly<Record<string, number>> | null
  readonly stop?: string | readonly string[] | null
  readonly max_tokens?: number | null
  readonly max_completion_tokens?: number | null
  readonly logprobs?: boolean | null
  readonly top_logprobs?: number | null
  readonly response_format?: ChatResponseFormat | null
  readonly tools?: readonly ChatTool[] | null
  readonly tool_choice?: ChatToolChoice | null
  readonly parallel_tool_calls?: boolean | null
  readonly user?: string | null
}

export type ChatMessage =
  | { readonly role: 'system' | 'developer' | 'user'; readonly content: ChatContent; readonly name?: string }
  | {
      readonly role: 'assistant'
      readonly content?: ChatContent | null
      readonly name?: string
      readonly tool_calls?: readonly ChatToolCall[] | null
    }
  | { readonly role: 'tool'; readonly content: ChatContent; readonly tool_call_id: string }

export type ChatContent = string | readonly { readonly type: 'text'; readonly text: string }[]

export interface ChatToolCall {
  readonly id: string
  readonly type: 'function'
  readonly function: { readonly name: string; readonly arguments: string }
}

export interface ChatTool {
  readonly type: 'function'
  readonly function: {
    readonly name: string
    readonly description?: string
    readonly parameters?: Readonly<Record<string, unknown>>
    readonly strict?: boolean | null
  }
}

export type ChatToolChoice =
  | 'none'
  | 'auto'
  | 'required'
  | { readonly type: 'function'; readonly function: { readonly name: string } }

export type ChatResponseFormat =
  | { readonly type: 'text' | 'json_object' }
  | {
      readonly type: 'json_schema'
      readonly json_schema: {
        readonly name: string
        readonly description?: string
        readonly schema: Readonly<Record<string, unknown>>
        readonly strict?: boolean | null
      }
    }

/** The body of `/v1/responses`, without `stream` and `background`; the server refuses what it does not know, by name. */
export interface ResponseParameters {
  readonly model: string
  readonly input: string | readonly object[]
  readonly instructions?: string | null
  readonly previous_response_id?: string | null
  readonly [parameter: string]: unknown
}
