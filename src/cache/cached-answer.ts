import { crc32 } from 'node:zlib'

/** How an answer was first sent, and in which bytes it is kept. */
export type AnswerForm = 'whole' | 'stream'

/** Tokens of a kept answer, as they were counted when it was made. */
export interface AnswerUsage {
  readonly promptTokens: number
  readonly completionTokens: number
  readonly cachedTokens: number
}

/** A complete answer, with all that decides whether it may be given again, and to whom. */
export interface CachedAnswer {
  /** The organisation it belongs to; compared at every reading, whatever the key says. */
  readonly tenant: string
  /** By which it can be invalidated: `tag:...` and `model:...`. */
  readonly names: readonly string[]
  /** The tenant's epoch when its making began; see `Invalidations`. */
  readonly epoch: number
  readonly storedAtMs: number
  readonly ttlMs: number
  /** After its time to live: how long it is given once more while a new one is being made. */
  readonly staleMs: number
  readonly form: AnswerForm
  /** Undefined when the engine did not say. */
  readonly usage: AnswerUsage | undefined
  readonly body: Buffer
}

/** What a request demands of an answer's age. */
export interface AgeLimits {
  readonly ttlMs: number
  readonly staleMs: number
}

export type Freshness = 'fresh' | 'stale' | 'expired'

/** An answer is no older than both its own limits and those of the request that it is given to. */
export function freshness(answer: CachedAnswer, asked: AgeLimits, nowMs: number): Freshness {
  const ageMs = nowMs - answer.storedAtMs
  const ttlMs = Math.min(answer.ttlMs, asked.ttlMs)
  if (ageMs < ttlMs) return 'fresh'
  return ageMs < ttlMs + Math.min(answer.staleMs, asked.staleMs) ? 'stale' : 'expired'
}

/** Until when the answer can be of use to anybody. */
export function usefulUntilMs({ storedAtMs, ttlMs, staleMs }: CachedAnswer): number {
  return storedAtMs + ttlMs + staleMs
}

const ENTRY_FIXED_BYTES = 512

/** About what it takes in memory, its key included. */
export function answerBytes({ body, names }: CachedAnswer): number {
  return ENTRY_FIXED_BYTES + body.length + names.reduce((sum, name) => sum + 2 * name.length + 16, 0)
}

const VERSION = 1
const PREFIX_BYTES = 9

/** The answer as bytes: version, checksum of what follows, length of the head, head, body. */
export function encodeAnswer(answer: CachedAnswer): Buffer {
  const { body, ...rest } = answer
  const head = Buffer.from(JSON.stringify(rest))
  const bytes = Buffer.allocUnsafe(PREFIX_BYTES + head.length + body.length)
  bytes.writeUInt8(VERSION, 0)
  bytes.writeUInt32BE(head.length, 5)
  head.copy(bytes, PREFIX_BYTES)
  body.copy(bytes, PREFIX_BYTES + head.length)
  bytes.writeUInt32BE(crc32(bytes.subarray(5)), 1)
  return bytes
}

/** The answer in these bytes; undefined for another version's, and for what is damaged. */
export function decodeAnswer(bytes: Buffer): CachedAnswer | undefined {
  if (bytes.length < PREFIX_BYTES || bytes[0] !== VERSION) return undefined
  if (crc32(bytes.subarray(5)) !== bytes.readUInt32BE(1)) return undefined
  const bodyAt = PREFIX_BYTES + bytes.readUInt32BE(5)
  if (bodyAt > bytes.length) return undefined
  const head = JSON.parse(bytes.toString('utf8', PREFIX_BYTES, bodyAt)) as Omit<CachedAnswer, 'body'>
  return { ...head, usage: head.usage, body: bytes.subarray(bodyAt) }
}
