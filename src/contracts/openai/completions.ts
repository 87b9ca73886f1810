import { z } from 'zod'
import { only, samplingFields, text, tokenId } from './fields.ts'

const prompt = z.union([
  text,
  z.array(text).min(1).max(128),
  z
    .array(tokenId)
    .min(1)
    .max(2 ** 20),
  z
    .array(
      z
        .array(tokenId)
        .min(1)
        .max(2 ** 20),
    )
    .min(1)
    .max(128),
])

/** POST /v1/completions, the older text interface. */
export const CompletionRequest = z
  .strictObject({
    ...samplingFields,
    prompt,
    logprobs: z.int().min(0).max(5).nullish(),
    echo: only(false, null),
    best_of: only(1, null),
    suffix: only(null),
  })
  .superRefine((request, context) => {
    if (request.stream_options != null && request.stream !== true) {
      context.addIssue({ code: 'custom', path: ['stream_options'], message: 'needs stream: true' })
    }
  })

export type CompletionRequest = z.output<typeof CompletionRequest>

/** A list of texts, or of token lists, is that many prompts; a list of tokens is one. */
export function promptCount({ prompt }: Pick<CompletionRequest, 'prompt'>): number {
  return Array.isArray(prompt) && typeof prompt[0] !== 'number' ? prompt.length : 1
}
