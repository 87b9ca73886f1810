import { type CompletionRequest, promptCount } from '../../contracts/openai/completions.ts'
import type { Replica } from '../../contracts/pool.ts'
import { HelixError } from '../../core/errors.ts'
import { textCollector } from './collector.ts'
import type { Answer, Exchange } from './exchange.ts'
import { promptsTokensLikely, promptsTokensMax } from './prompt-bound.ts'
import { checkChoices, checkTokens, given, samplingBody } from './sampling.ts'
import { TextLogprobs } from './text-logprobs.ts'

/** As OpenAI has it. */
const OUTPUT_TOKENS_DEFAULT = 16

/** How a text completion is asked of an engine, and what of its answer has to be mended. */
export function completionExchange(request: CompletionRequest): Exchange {
  const choicesPerPrompt = request.n ?? 1
  const choices = promptCount(request) * choicesPerPrompt
  const stream = request.stream === true
  return {
    model: request.model,
    path: '/v1/completions',
    body: (replica, asked) => completionBody(request, replica, asked.stream),
    size: () => ({
      promptTokensMax: promptsTokensMax(request.prompt),
      promptTokensLikely: promptsTokensLikely(request.prompt),
      promptCount: promptCount(request),
      outputTokensMax: request.max_tokens ?? OUTPUT_TOKENS_DEFAULT,
    }),
    tier: 'default',
    prompt: () => (typeof request.prompt === 'string' ? request.prompt : JSON.stringify(request.prompt)),
    inputParam: 'prompt',
    schemaParam: undefined,
    stream,
    includeUsage: request.stream_options?.include_usage === true,
    choices,
    choicesPerPrompt,
    // llama-server counts only the first choice in a whole answer, and each in a stream.
    collect: choices > 1 && !stream ? textCollector : undefined,
    rewrite:
      request.logprobs == null
        ? undefined
        : (replica) => (replica.engine === 'llama-server' ? new TextLogprobs() : undefined),
    cacheable: { kind: 'text', deterministic: request.temperature === 0, request },
  }
}

function completionBody(request: CompletionRequest, replica: Replica, stream: boolean): Answer {
  checkChoices(request.n ?? 1, replica)
  checkEmptyPrompts(request, replica)
  checkTokens(tokensOf(request.prompt), replica, 'prompt')
  return {
    model: replica.engineModel,
    prompt: request.prompt,
    ...samplingBody(request, replica),
    ...given({
      n: request.n,
      max_tokens: request.max_tokens ?? OUTPUT_TOKENS_DEFAULT,
      logprobs: request.logprobs,
    }),
    ...(stream ? { stream: true, stream_options: { include_usage: true } } : {}),
  }
}

/**
 * llama-server ends an empty prompt before it has made its further choices, which are then waited for in vain.
 * @throws HelixError `invalid_value`
 */
function checkEmptyPrompts({ prompt, n }: CompletionRequest, replica: Replica): void {
  if (replica.engine !== 'llama-server' || (n ?? 1) === 1) return
  const prompts: readonly unknown[] = typeof prompt === 'string' ? [prompt] : prompt
  const at = prompts.indexOf('')
  if (at < 0) return
  const param = typeof prompt === 'string' ? 'prompt' : `prompt[${at}]`
  const text = `Invalid value: '${param}': an empty prompt has only one choice here. Leave out n, or write something.`
  throw new HelixError('invalid_value', text, { param })
}

/** The prompt's tokens where it is given as such. */
export function tokensOf(prompt: CompletionRequest['prompt']): readonly number[] {
  if (typeof prompt === 'string') return []
  return prompt.flatMap((part) => (typeof part === 'string' ? [] : part))
}
