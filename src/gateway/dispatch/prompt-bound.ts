/**
 * Tokens of a text at most. A tokenizer that works on bytes, as those of all models here do, makes no token of less than
 * one byte; most make one of three or four.
 */
export function textTokensMax(text: string): number {
  return Buffer.byteLength(text)
}

/** What a chat template may put around the messages, and around each. */
const TEMPLATE_TOKENS = 256
const MESSAGE_TOKENS = 16
/** Templates may write schemas with spaces and line breaks. */
const SCHEMA_FACTOR = 2

/** Tokens of a chat prompt at most, with what its template adds. */
export function chatTokensMax(messages: readonly unknown[], schemas: unknown): number {
  const schemaBytes = schemas === undefined ? 0 : textTokensMax(JSON.stringify(schemas))
  return (
    TEMPLATE_TOKENS +
    MESSAGE_TOKENS * messages.length +
    textTokensMax(JSON.stringify(messages)) +
    SCHEMA_FACTOR * schemaBytes
  )
}

/** Of prompts that are texts, token numbers, or several of either; models add up to two tokens to each. */
export function promptsTokensMax(prompts: unknown): number {
  if (typeof prompts === 'string') return textTokensMax(prompts) + 2
  if (!Array.isArray(prompts)) return 1
  return prompts.reduce<number>((sum, prompt) => sum + promptsTokensMax(prompt), 2)
}

const BYTES_PER_TOKEN = 4
const MESSAGE_TOKENS_LIKELY = 6

/** Tokens of a chat prompt, as they mostly are. */
export function chatTokensLikely(
  messages: readonly { readonly content?: unknown }[],
  schemas: unknown,
): number {
  const bytes = messages.reduce(
    (sum, { content }) => sum + bytesOf(content),
    schemas === undefined ? 0 : bytesOf(schemas),
  )
  return MESSAGE_TOKENS_LIKELY * messages.length + Math.ceil(bytes / BYTES_PER_TOKEN)
}

/** Tokens of prompts, as they mostly are; of token numbers as many as there are. */
export function promptsTokensLikely(prompts: unknown): number {
  if (typeof prompts === 'string') return Math.ceil(bytesOf(prompts) / BYTES_PER_TOKEN)
  if (!Array.isArray(prompts)) return 1
  return prompts.reduce<number>((sum, prompt) => sum + promptsTokensLikely(prompt), 0)
}

function bytesOf(content: unknown): number {
  if (content === undefined || content === null) return 0
  return Buffer.byteLength(typeof content === 'string' ? content : JSON.stringify(content))
}
