import { HelixError } from '../../core/errors.ts'

/** Token types as GGUF numbers them. */
const NORMAL = 1
const CONTROL = 3
const USER_DEFINED = 4

/** Never part of an answer's text. */
const CONTROL_TOKENS = ['<|endoftext|>', '<|im_start|>', '<|im_end|>']
const TOOL_CALL_TOKENS = ['<tool_call>', '</tool_call>']

/**
 * Ids of the tokens with a meaning. A request that must see a tool call, which random weights never make, gets
 * one by `tool_choice: required`, `parallel_tool_calls: false` and a `logit_bias` of 100 on `imEnd`, 50 on
 * `toolCall`.
 */
export const TINY_TOKEN_IDS = { endOfText: 0, imStart: 1, imEnd: 2, toolCall: 3 } as const

export interface TinyVocabulary {
  readonly tokens: readonly string[]
  readonly tokenTypes: readonly number[]
  /** Pairs of tokens that join into a longer one, in order of precedence. */
  readonly merges: readonly string[]
  /** The first tokens, up to this one, are special or not printable: a model that avoids them writes text. */
  readonly speakableFrom: number
}

/**
 * A byte-level BPE vocabulary of that size: every byte, then all strings of two, three, ... letters, each with
 * the merge that makes it from a shorter one. Any text can be encoded, and all that is spoken is printable.
 * @throws HelixError `invalid_arguments` when not even the bytes fit
 */
export function tinyVocabulary(size: number): TinyVocabulary {
  const bytes = byteTokens()
  const tokens = [...CONTROL_TOKENS, ...TOOL_CALL_TOKENS, ...bytes.silent, ...bytes.speakable]
  const speakableFrom = tokens.length - bytes.speakable.length
  if (size < tokens.length) {
    throw new HelixError('invalid_arguments', `A vocabulary needs at least ${tokens.length} tokens.`)
  }
  const letters = Array.from('abcdefghijklmnopqrstuvwxyz')
  const starts = [byteToken(0x20), ...letters]
  const merges: string[] = []
  // The list grows while it is walked: two letters first, then three, and so on without end.
  for (const start of starts) {
    if (tokens.length === size) break
    for (const letter of letters.slice(0, size - tokens.length)) {
      merges.push(`${start} ${letter}`)
      starts.push(start + letter)
      tokens.push(start + letter)
    }
  }
  return { tokens, tokenTypes: tokens.map(typeOf), merges, speakableFrom }
}

function typeOf(token: string): number {
  if (CONTROL_TOKENS.includes(token)) return CONTROL
  return TOOL_CALL_TOKENS.includes(token) ? USER_DEFINED : NORMAL
}

function byteTokens(): { silent: string[]; speakable: string[] } {
  const silent: string[] = []
  const speakable: string[] = []
  for (let byte = 0; byte < 256; byte += 1) {
    const printable = byte >= 0x20 && byte < 0x7f
    ;(printable ? speakable : silent).push(byteToken(byte))
  }
  return { silent, speakable }
}

/**
 * Byte-level BPE, as GPT-2 brought it, writes each byte as one visible character: bytes that Latin-1 shows stand
 * for themselves, the others are numbered from U+0100 in order.
 */
function byteToken(byte: number): string {
  if (isVisible(byte)) return String.fromCharCode(byte)
  let hiddenBefore = 0
  for (let other = 0; other < byte; other += 1) if (!isVisible(other)) hiddenBefore += 1
  return String.fromCharCode(0x100 + hiddenBefore)
}

function isVisible(byte: number): boolean {
  return (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad)
}
