import { promptCount } from '../../contracts/openai/completions.ts'
import type { EmbeddingRequest } from '../../contracts/openai/embeddings.ts'
import { tokensOf } from './completion-exchange.ts'
import type { Exchange } from './exchange.ts'
import { promptsTokensLikely, promptsTokensMax } from './prompt-bound.ts'
import { checkTokens, given } from './sampling.ts'

/** How embeddings are asked of an engine. */
export function embeddingExchange(request: EmbeddingRequest): Exchange {
  return {
    model: request.model,
    path: '/v1/embeddings',
    body: (replica) => {
      checkTokens(tokensOf(request.input), replica, 'input')
      return {
        model: replica.engineModel,
        input: request.input,
        ...given({ encoding_format: request.encoding_format }),
      }
    },
    size: () => ({
      promptTokensMax: promptsTokensMax(request.input),
      promptTokensLikely: promptsTokensLikely(request.input),
      promptCount: promptCount({ prompt: request.input }),
      outputTokensMax: 0,
    }),
    tier: 'default',
    prompt: undefined,
    inputParam: 'input',
    schemaParam: undefined,
    stream: false,
    includeUsage: false,
    choices: 1,
    choicesPerPrompt: 1,
    collect: undefined,
    rewrite: undefined,
    cacheable: { kind: 'embedding', deterministic: true, request },
  }
}
