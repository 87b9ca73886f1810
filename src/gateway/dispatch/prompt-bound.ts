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
