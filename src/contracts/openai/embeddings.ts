import { z } from 'zod'
import { modelName, only, text, tokenId } from './fields.ts'

const input = z.union([
  text.min(1),
  z.array(text.min(1)).min(1).max(2_048),
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
    .max(2_048),
])

/** POST /v1/embeddings. */
export const EmbeddingRequest = z.strictObject({
  model: modelName,
  input,
  encoding_format: z.enum(['float', 'base64']).nullish(),
  dimensions: only(null),
  user: text.max(512).nullish(),
})

export type EmbeddingRequest = z.output<typeof EmbeddingRequest>
