import type { ChatRequest } from '../../contracts/openai/chat.ts'
import { HelixError } from '../../core/errors.ts'
import { chatExchange } from '../dispatch/chat-exchange.ts'
import type { Answer, Exchange } from '../dispatch/exchange.ts'
import type { UsageField } from '../dispatch/usage.ts'
import type { Scribe } from './scribe.ts'

/** What an answer said before the gateway that asked for it was gone. */
export interface Begun {
  readonly text: string
  /** Pieces that it came in, which are its tokens as well as anybody knows. */
  readonly pieces: number
}

/** How the rest of an answer is had. */
export interface Continuation {
  readonly exchange: Exchange
  /** Hands on only what is new. */
  rest(scribe: Scribe): Scribe
}

/**
 * Asks for the rest of a chat answer. An engine that can goes on from the text; any other is asked for the whole again, if
 * it would say the same, and what it says has to begin with that text.
 * @throws HelixError `engine_failed` where nobody could tell whether the two parts belong together
 */
export function continuation(request: ChatRequest, begun: Begun): Continuation {
  const again = chatExchange({ ...request, stream: true, stream_options: { include_usage: true } })
  if (begun.text === '') return { exchange: again, rest: (scribe) => scribe }
  if (!isPlain(request)) throw lostError()
  let isWhole = false
  const exchange: Exchange = {
    ...again,
    // It is no answer to this request by itself.
    cacheable: undefined,
    body: (replica, asked) => {
      isWhole = !replica.continues
      if (!isWhole) return restBody(again.body(replica, asked), begun)
      if (request.temperature !== 0) throw lostError()
      return again.body(replica, asked)
    },
  }
  return {
    exchange,
    rest: (scribe) =>
      new RestScribe(
        scribe,
        () => (isWhole ? begun.text : ''),
        () => (isWhole ? 0 : begun.pieces),
      ),
  }
}

/** One choice of free text: all that was said of it is the text. */
function isPlain({ n, tools, logprobs, response_format: format }: ChatRequest): boolean {
  const hasTools = tools !== null && tools !== undefined && tools.length > 0
  return (n ?? 1) === 1 && !hasTools && logprobs !== true && (format ?? { type: 'text' }).type === 'text'
}

function restBody(body: Answer, { text, pieces }: Begun): Answer {
  const limit = body['max_tokens']
  return {
    ...body,
    messages: [...(body['messages'] as readonly Answer[]), { role: 'assistant', content: text }],
    continue_final_message: true,
    add_generation_prompt: false,
    ...(typeof limit === 'number' ? { max_tokens: Math.max(1, limit - pieces) } : {}),
  }
}

export function lostError(): HelixError {
  return new HelixError(
    'engine_failed',
    'The gateway that made this answer is gone, and the rest cannot be had.',
    {
      retryable: false,
    },
  )
}

/** Leaves away what was said before. What contradicts it ends the stream. */
class RestScribe implements Scribe {
  private saidBefore: string | undefined
  private failed = false

  constructor(
    private readonly scribe: Scribe,
    /** What it will say again; known once an engine was chosen. */
    private readonly before: () => string,
    /** Pieces that it was given to go on from. */
    private readonly continued: () => number,
  ) {}

  chunk(chunk: Answer): void {
    if (this.failed) return
    this.saidBefore ??= this.before()
    if (this.saidBefore === '') {
      this.scribe.chunk(this.counted(chunk))
      return
    }
    const choice = (chunk['choices'] as readonly Answer[] | undefined)?.[0]
    const content = (choice?.['delta'] as Answer | undefined)?.['content']
    if (typeof content !== 'string' || content === '') {
      if (choice?.['finish_reason']) this.contradict()
      return
    }
    const same = content.slice(0, this.saidBefore.length)
    if (!this.saidBefore.startsWith(same)) {
      this.contradict()
      return
    }
    this.saidBefore = this.saidBefore.slice(same.length)
    const rest = content.slice(same.length)
    const isNew = rest !== '' || choice?.['finish_reason']
    if (isNew) this.scribe.chunk({ ...chunk, choices: [{ ...choice, delta: { content: rest } }] })
  }

  complete(): void {
    if (!this.failed) this.scribe.complete()
  }

  fail(error: HelixError): void {
    if (!this.failed) this.scribe.fail(error)
  }

  /** To an engine that went on, what was said before is a part of the prompt. */
  private counted(chunk: Answer): Answer {
    const usage = chunk['usage'] as Partial<UsageField> | null | undefined
    const { prompt_tokens: prompt, completion_tokens: completion } = usage ?? {}
    const moved = this.continued()
    if (prompt === undefined || completion === undefined || moved === 0) return chunk
    const pieces = Math.min(moved, prompt)
    const whole = { prompt_tokens: prompt - pieces, completion_tokens: completion + pieces }
    return { ...chunk, usage: { ...usage, ...whole } }
  }

  private contradict(): void {
    this.failed = true
    this.scribe.fail(lostError())
  }
}
