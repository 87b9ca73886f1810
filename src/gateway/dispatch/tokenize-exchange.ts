import type { TokenizeAnswer, TokenizeRequest } from '../../contracts/openai/tokenize.ts'
import type { Replica } from '../../contracts/pool.ts'
import { HelixError } from '../../core/errors.ts'
import type { Answer, Exchange, Rewrite } from './exchange.ts'

/** How a text is cut into tokens by an engine. */
export function tokenizeExchange(request: TokenizeRequest): Exchange {
  return {
    model: request.model,
    path: '/tokenize',
    body: (replica) => {
      if (replica.engine !== 'llama-server') {
        throw new HelixError(
          'not_implemented',
          `The server behind '${request.model}' has no tokenizer interface.`,
        )
      }
      return {
        content: request.prompt,
        add_special: request.add_special_tokens ?? true,
        with_pieces: request.return_token_strs === true,
      }
    },
    // Cutting a text into tokens generates nothing: it counts as a request alone.
    size: () => ({ promptTokensMax: 0, promptTokensLikely: 0, promptCount: 1, outputTokensMax: 0 }),
    tier: 'default',
    prompt: undefined,
    inputParam: 'prompt',
    schemaParam: undefined,
    stream: false,
    includeUsage: false,
    choices: 1,
    choicesPerPrompt: 1,
    collect: undefined,
    rewrite: (replica) => tokenizeRewrite(replica),
    cacheable: undefined,
  }
}

function tokenizeRewrite(replica: Replica): Rewrite {
  const whole = (answer: Answer): Answer => {
    const tokens = answer['tokens'] as readonly (number | Piece)[]
    const ids = tokens.map((token) => (typeof token === 'number' ? token : token.id))
    const pieces = tokens.filter((token) => typeof token === 'object').map(({ piece }) => pieceText(piece))
    const result: TokenizeAnswer = {
      tokens: ids,
      count: ids.length,
      max_model_len: replica.contextLength ?? null,
      ...(pieces.length > 0 ? { token_strs: pieces } : {}),
    }
    return { ...result }
  }
  return { whole, chunk: (chunk) => [chunk] }
}

interface Piece {
  readonly id: number
  /** Bytes where they are no whole characters. */
  readonly piece: string | readonly number[]
}

function pieceText(piece: Piece['piece']): string {
  return typeof piece === 'string' ? piece : Buffer.from(piece).toString('utf8')
}
