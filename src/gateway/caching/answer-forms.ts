import { DONE_FRAME, EventSplitter, eventData, frame } from '../../contracts/sse.ts'
import { chatCollector, textCollector } from '../dispatch/collector.ts'
import type { Answer, AnswerKind } from '../dispatch/exchange.ts'
import { usageFrame } from '../dispatch/stream-filter.ts'
import { NO_USAGE, type Usage, usageField } from '../dispatch/usage.ts'

/**
 * The events of a stream that says what this whole answer does, without usage and end. Undefined where something would
 * be lost: another's server may put into an answer what no stream of ours has a place for.
 */
export function streamOf(body: Buffer, kind: AnswerKind): Buffer | undefined {
  const answer = parse(body.toString('utf8'))
  if (!answer || kind === 'embedding' || !knows(answer, HEAD)) return undefined
  const object = kind === 'chat' ? 'chat.completion.chunk' : 'text_completion'
  const { usage: _usage, timings: _timings, choices, ...rest } = answer
  const head = { ...rest, object }
  if (!isList(choices)) return undefined
  const events: string[] = []
  for (const choice of choices) {
    const parts = kind === 'chat' ? chatChunks(choice) : textChunks(choice)
    if (!parts) return undefined
    for (const part of parts) {
      const filled = { index: choice['index'], logprobs: null, finish_reason: null, ...part }
      events.push(frame({ ...head, choices: [filled] }))
    }
  }
  return Buffer.from(events.join(''))
}

/** The whole answer that this stream tells; undefined where something would be lost. */
export function wholeOf(events: Buffer, kind: AnswerKind, usage: Usage | undefined): Buffer | undefined {
  if (kind === 'embedding') return undefined
  const collector = kind === 'chat' ? chatCollector() : textCollector()
  for (const chunk of chunksOf(events)) {
    if (!chunk || !isCollectable(chunk)) return undefined
    collector.add(chunk)
  }
  return Buffer.from(JSON.stringify({ ...collector.answer(), usage: usageField(usage ?? NO_USAGE) }))
}

/** What ends a stream: its usage, where it was asked for and is known, and the end. */
export function streamEnd(events: Buffer, usage: Usage | undefined, includeUsage: boolean): Buffer {
  if (!includeUsage || !usage) return DONE
  const [head] = chunksOf(events.subarray(0, HEAD_BYTES_MAX))
  return Buffer.from(usageFrame(head, usage) + DONE_FRAME)
}

export const DONE = Buffer.from(DONE_FRAME)

/** In so many bytes surely stands a chunk with what all of them have in common. */
const HEAD_BYTES_MAX = 64 * 1024

const HEAD = new Set([
  ...[
    'id',
    'object',
    'created',
    'model',
    'system_fingerprint',
    'service_tier',
    'choices',
    'usage',
    'timings',
  ],
  'obfuscation',
])
const CHAT_CHOICE = new Set(['index', 'message', 'delta', 'logprobs', 'finish_reason'])
const TEXT_CHOICE = new Set(['index', 'text', 'logprobs', 'finish_reason'])
const MESSAGE = new Set(['role', 'content', 'reasoning_content', 'tool_calls'])

function chatChunks(choice: Answer): readonly Answer[] | undefined {
  const { message, logprobs, finish_reason } = choice
  if (!isAnswer(message) || !knows(choice, CHAT_CHOICE) || !knows(message, MESSAGE)) return undefined
  const { content, reasoning_content, tool_calls } = message
  const deltas: Answer[] = []
  if (isText(reasoning_content)) deltas.push({ reasoning_content })
  if (isText(content)) deltas.push({ content })
  if (isList(tool_calls) && tool_calls.length > 0)
    deltas.push({ tool_calls: tool_calls.map((call, index) => ({ index, ...call })) })
  if (deltas.length === 0) deltas.push({ content: '' })
  const last = deltas.length - 1
  return [
    { delta: { role: 'assistant', content: isText(content) ? '' : null } },
    // All of them at once: which belongs to which piece of text is not told in a whole answer.
    ...deltas.map((delta, at) => ({ delta, logprobs: at === last ? (logprobs ?? null) : null })),
    { delta: {}, finish_reason },
  ]
}

function textChunks(choice: Answer): readonly Answer[] | undefined {
  if (!knows(choice, TEXT_CHOICE)) return undefined
  const { text, logprobs, finish_reason } = choice
  return [
    { text, logprobs: logprobs ?? null },
    { text: '', finish_reason },
  ]
}

function isCollectable(chunk: Answer): boolean {
  const { choices } = chunk
  if (!knows(chunk, HEAD) || !isList(choices)) return false
  return choices.every((choice) => {
    const { delta, logprobs } = choice
    const known = knows(choice, delta === undefined ? TEXT_CHOICE : CHAT_CHOICE)
    const told = !isAnswer(logprobs) || knows(logprobs, LOGPROBS)
    return known && told && (!isAnswer(delta) || knows(delta, MESSAGE))
  })
}

const LOGPROBS = new Set(['content', 'tokens', 'token_logprobs', 'top_logprobs', 'text_offset'])

/** Whether everything that it says has one of these names; what is null or empty says nothing. */
function knows(answer: Answer, names: ReadonlySet<string>): boolean {
  return Object.entries(answer).every(([name, value]) => {
    const silent = value === null || value === undefined || (Array.isArray(value) && value.length === 0)
    return silent || names.has(name)
  })
}

function* chunksOf(events: Buffer): Generator<Answer | undefined> {
  for (const event of new EventSplitter(Number.POSITIVE_INFINITY).push(events) ?? []) {
    const data = eventData(event)
    if (data !== undefined && data !== '[DONE]') yield parse(data)
  }
}

function parse(text: string): Answer | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return isAnswer(value) ? value : undefined
  } catch {
    return undefined
  }
}

function isAnswer(value: unknown): value is Answer {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isList(value: unknown): value is readonly Answer[] {
  return Array.isArray(value) && value.every(isAnswer)
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}
