import { z } from 'zod'
import { HelixError } from '../core/errors.ts'
import type { EngineFacts } from './engine.ts'
import { askEngine, type LlamaSocket } from './llama-request.ts'

const Properties = z.object({
  default_generation_settings: z.object({ n_ctx: z.int().positive() }),
  chat_template_caps: z.object({ supports_tools: z.boolean().optional() }).optional(),
})

const Models = z.object({
  data: z.array(z.object({ meta: z.object({ n_vocab: z.int().positive().optional() }).nullish() })).min(1),
})

/** @throws HelixError `engine_failed` when it does not answer, or not in the words that we know */
export async function readLlamaFacts(socket: LlamaSocket, timeoutMs: number): Promise<EngineFacts> {
  const properties = await ask(socket, '/props', { timeoutMs, schema: Properties })
  const models = await ask(socket, '/v1/models', { timeoutMs, schema: Models })
  return {
    contextLength: properties.default_generation_settings.n_ctx,
    supportsTools: properties.chat_template_caps?.supports_tools ?? false,
    vocabularySize: models.data[0]?.meta?.n_vocab,
  }
}

async function ask<T>(
  socket: LlamaSocket,
  path: string,
  { timeoutMs, schema }: { readonly timeoutMs: number; readonly schema: z.ZodType<T> },
): Promise<T> {
  const { status, body } = await askEngine(socket, path, { timeoutMs })
  const result = schema.safeParse(body)
  if (status === 200 && result.success) return result.data
  throw new HelixError('engine_failed', 'The engine gave an answer that HelixFlow does not understand.', {
    internal: `${path}: status ${status}, ${result.error?.message ?? 'body as expected'}`,
  })
}
