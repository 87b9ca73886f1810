import { z } from 'zod'
import { modelName, text } from './fields.ts'

/** What cuts a longer text holds up its machine for seconds, and no model here takes as much. */
const PROMPT_LENGTH_MAX = 2 ** 20

/** POST /tokenize, in the form that vLLM gave it. */
export const TokenizeRequest = z.strictObject({
  model: modelName,
  prompt: text.max(PROMPT_LENGTH_MAX),
  add_special_tokens: z.boolean().nullish(),
  return_token_strs: z.boolean().nullish(),
})

export type TokenizeRequest = z.output<typeof TokenizeRequest>

export interface TokenizeAnswer {
  readonly tokens: readonly number[]
  readonly count: number
  readonly max_model_len: number | null
  readonly token_strs?: readonly string[]
}
