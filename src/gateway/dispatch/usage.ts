/** Tokens of one request, counted by the engine. */
export interface Usage {
  readonly promptTokens: number
  readonly completionTokens: number
  readonly cachedTokens: number
}

export const NO_USAGE: Usage = { promptTokens: 0, completionTokens: 0, cachedTokens: 0 }

/** `usage` as OpenAI writes it. */
export interface UsageField {
  readonly prompt_tokens: number
  readonly completion_tokens: number
  readonly total_tokens: number
  readonly prompt_tokens_details: { readonly cached_tokens: number }
}

/**
 * Adds up what an engine says about the choices of one request. llama-server counts each choice by itself and
 * repeats the prompt with each; a prompt with several choices is counted once, as OpenAI does.
 */
export class UsageTally {
  private readonly prompts = new Map<number, { prompt: number; cached: number }>()
  private completion = 0
  private seen = false

  /** @param prompt which of the request's prompts the choice belongs to */
  add(field: unknown, prompt: number): void {
    if (typeof field !== 'object' || field === null) return
    const usage = field as Partial<UsageField>
    this.seen = true
    this.completion += count(usage.completion_tokens)
    if (this.prompts.has(prompt)) return
    const cached = count(usage.prompt_tokens_details?.cached_tokens)
    this.prompts.set(prompt, { prompt: count(usage.prompt_tokens), cached })
  }

  /** Undefined while the engine has said nothing. */
  total(): Usage | undefined {
    if (!this.seen) return undefined
    const prompts = [...this.prompts.values()]
    return {
      promptTokens: prompts.reduce((sum, one) => sum + one.prompt, 0),
      completionTokens: this.completion,
      cachedTokens: prompts.reduce((sum, one) => sum + one.cached, 0),
    }
  }
}

export function usageField(usage: Usage): UsageField {
  return {
    prompt_tokens: usage.promptTokens,
    completion_tokens: usage.completionTokens,
    total_tokens: usage.promptTokens + usage.completionTokens,
    prompt_tokens_details: { cached_tokens: usage.cachedTokens },
  }
}

const USAGE_KEY = '"usage":'

/**
 * The `usage` object of a JSON answer, without parsing the whole of it: an embedding answer has megabytes before it.
 * The key cannot stand inside a string there, since its quotes would be escaped.
 */
export function findUsage(answer: Buffer): unknown {
  const key = answer.lastIndexOf(USAGE_KEY)
  const start = key < 0 ? -1 : answer.indexOf('{', key)
  if (start < 0) return undefined
  const tail = answer.toString('utf8', start, Math.min(answer.length, start + 2_048))
  let depth = 0
  for (let at = 0; at < tail.length; at++) {
    if (tail[at] === '{') depth++
    else if (tail[at] === '}' && --depth === 0) return JSON.parse(tail.slice(0, at + 1))
  }
  return undefined
}

function count(value: unknown): number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : 0
}
