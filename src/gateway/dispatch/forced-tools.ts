import { randomBytes } from 'node:crypto'
import type { ChatTool } from '../../contracts/openai/chat.ts'
import type { Answer, Rewrite } from './exchange.ts'

const PARALLEL_CALLS_MAX = 16

/**
 * A JSON schema whose every instance is a call of one of these tools, or a list of calls. Parameters go under `$defs`
 * so that references inside them keep working.
 */
export function forcedToolsSchema(tools: readonly ChatTool[], parallel: boolean): Answer {
  const calls = tools.map((tool, index) => ({
    type: 'object',
    properties: { name: { const: tool.function.name }, arguments: { $ref: `#/$defs/tool${index}` } },
    required: ['name', 'arguments'],
    additionalProperties: false,
  }))
  const one = calls.length === 1 && calls[0] ? calls[0] : { anyOf: calls }
  const root = parallel ? { type: 'array', items: one, minItems: 1, maxItems: PARALLEL_CALLS_MAX } : one
  const definitions = tools.map((tool, index) => {
    const parameters = tool.function.parameters ?? { type: 'object', properties: {} }
    return [`tool${index}`, moved(parameters, `#/$defs/tool${index}`)]
  })
  return { ...root, $defs: Object.fromEntries(definitions) }
}

/** Turns the JSON text that the schema forced into the tool calls that the caller was promised. */
export class ForcedToolCalls implements Rewrite {
  private readonly texts = new Map<number, string>()

  whole(answer: Answer): Answer {
    const choices = (answer['choices'] as readonly WholeChoice[]).map((choice) => {
      const tool_calls = toolCalls(choice.message.content ?? '')
      const message = { ...choice.message, content: null, tool_calls }
      return { ...choice, message, finish_reason: finish(choice.finish_reason) }
    })
    return { ...answer, choices }
  }

  chunk(chunk: Answer): readonly Answer[] {
    const choices = (chunk['choices'] as readonly StreamChoice[]).flatMap((choice) => this.choice(choice))
    return choices.length > 0 ? [{ ...chunk, choices }] : []
  }

  private choice(choice: StreamChoice): readonly Answer[] {
    const { index, delta, finish_reason } = choice
    if (delta.content) this.texts.set(index, (this.texts.get(index) ?? '') + delta.content)
    if (finish_reason) {
      const tool_calls = toolCalls(this.texts.get(index) ?? '').map((call, at) => ({ index: at, ...call }))
      return [{ ...choice, delta: { tool_calls }, finish_reason: finish(finish_reason) }]
    }
    return delta.role ? [{ ...choice, delta: { ...delta, content: null } }] : []
  }
}

interface WholeChoice {
  readonly message: { readonly content?: string | null }
  readonly finish_reason: string | null
}

interface StreamChoice {
  readonly index: number
  readonly delta: { readonly role?: string; readonly content?: string | null }
  readonly finish_reason: string | null
}

function finish(reason: string | null): string | null {
  return reason === 'stop' ? 'tool_calls' : reason
}

function toolCalls(text: string): readonly Answer[] {
  return parseCalls(text).map(({ name, argumentsText }) => ({
    id: `call_${randomBytes(12).toString('hex')}`,
    type: 'function',
    function: { name, arguments: argumentsText },
  }))
}

/** What was cut off by the token limit is given as far as it goes, as OpenAI does. */
function parseCalls(text: string): readonly { name: string; argumentsText: string }[] {
  try {
    const value = JSON.parse(text)
    const calls: readonly { name: string; arguments: unknown }[] = Array.isArray(value) ? value : [value]
    return calls.map((call) => ({ name: call.name, argumentsText: JSON.stringify(call.arguments) }))
  } catch {
    const [, name] = /"name"\s*:\s*"([^"]+)"/.exec(text) ?? []
    const [, argumentsText = ''] = /"arguments"\s*:\s*(.*)$/s.exec(text) ?? []
    return name === undefined ? [] : [{ name, argumentsText }]
  }
}

/** References into a schema that now stands at another place. */
function moved(schema: unknown, to: string): unknown {
  if (Array.isArray(schema)) return schema.map((item) => moved(item, to))
  if (typeof schema !== 'object' || schema === null) return schema
  const entries = Object.entries(schema).map(([key, value]) => {
    const isReference = key === '$ref' && typeof value === 'string' && value.startsWith('#')
    return [key, isReference ? `${to}${value.slice(1)}` : moved(value, to)]
  })
  return Object.fromEntries(entries)
}
