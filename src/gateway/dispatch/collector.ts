import type { Answer, Collector } from './exchange.ts'

/** Puts a chat completion together from its chunks. */
export function chatCollector(): Collector {
  return new ChoiceCollector('chat.completion', (parts) => ({
    message: {
      role: 'assistant',
      content: parts.text === '' && parts.toolCalls.length > 0 ? null : parts.text,
      ...(parts.reasoning === '' ? {} : { reasoning_content: parts.reasoning }),
      ...(parts.toolCalls.length === 0 ? {} : { tool_calls: parts.toolCalls }),
    },
  }))
}

/** Puts a text completion together from its chunks. */
export function textCollector(): Collector {
  return new ChoiceCollector('text_completion', (parts) => ({ text: parts.text }))
}

interface ToolCall {
  id?: string
  type: 'function'
  function: { name: string; arguments: string }
}

interface Parts {
  text: string
  reasoning: string
  readonly toolCalls: ToolCall[]
  readonly logprobs: unknown[]
  /** In the form of the older interface, where its chunks have it. */
  textLogprobs: TextLogprobs | undefined
  finishReason: string | null
}

/** Lists that run beside each other, one place for each token. */
type TextLogprobs = Readonly<Record<(typeof TEXT_LOGPROBS)[number], readonly unknown[]>>

const TEXT_LOGPROBS = ['tokens', 'token_logprobs', 'top_logprobs', 'text_offset'] as const

interface Chunk {
  readonly index?: number
  readonly text?: string
  readonly delta?: {
    readonly content?: string | null
    readonly reasoning_content?: string | null
    readonly tool_calls?: readonly {
      readonly index?: number
      readonly id?: string
      readonly function?: { readonly name?: string; readonly arguments?: string }
    }[]
  }
  readonly logprobs?: ({ readonly content?: readonly unknown[] | null } & Partial<TextLogprobs>) | null
  readonly finish_reason?: string | null
}

class ChoiceCollector implements Collector {
  private head: Answer = {}
  private readonly choices = new Map<number, Parts>()

  constructor(
    private readonly object: string,
    private readonly render: (parts: Parts) => Answer,
  ) {}

  add(chunk: Answer): void {
    const { id, created, model, system_fingerprint } = chunk
    this.head = { id, object: this.object, created, model, system_fingerprint }
    for (const choice of (chunk['choices'] ?? []) as readonly Chunk[])
      merge(this.partsOf(choice.index ?? 0), choice)
  }

  answer(): Answer {
    const choices = [...this.choices].sort(([a], [b]) => a - b)
    return {
      ...this.head,
      choices: choices.map(([index, parts]) => ({
        index,
        ...this.render(parts),
        logprobs: parts.textLogprobs ?? (parts.logprobs.length > 0 ? { content: parts.logprobs } : null),
        finish_reason: parts.finishReason,
      })),
    }
  }

  private partsOf(index: number): Parts {
    const present = this.choices.get(index)
    if (present) return present
    const created: Parts = {
      text: '',
      reasoning: '',
      toolCalls: [],
      logprobs: [],
      textLogprobs: undefined,
      finishReason: null,
    }
    this.choices.set(index, created)
    return created
  }
}

function merge(parts: Parts, chunk: Chunk): void {
  parts.text += chunk.text ?? chunk.delta?.content ?? ''
  parts.reasoning += chunk.delta?.reasoning_content ?? ''
  parts.logprobs.push(...(chunk.logprobs?.content ?? []))
  if (chunk.logprobs?.tokens) parts.textLogprobs = joined(parts.textLogprobs, chunk.logprobs)
  parts.finishReason = chunk.finish_reason ?? parts.finishReason
  for (const call of chunk.delta?.tool_calls ?? []) {
    const at = call.index ?? 0
    const whole = parts.toolCalls[at] ?? { type: 'function', function: { name: '', arguments: '' } }
    if (call.id !== undefined) whole.id = call.id
    whole.function.name += call.function?.name ?? ''
    whole.function.arguments += call.function?.arguments ?? ''
    parts.toolCalls[at] = whole
  }
}

function joined(before: TextLogprobs | undefined, more: Partial<TextLogprobs>): TextLogprobs {
  const entries = TEXT_LOGPROBS.map(
    (name) => [name, [...(before?.[name] ?? []), ...(more[name] ?? [])]] as const,
  )
  return Object.fromEntries(entries) as TextLogprobs
}
