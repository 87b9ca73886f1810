import type { Replica } from '../../contracts/pool.ts'
import type { Tier } from '../../scheduler/tier.ts'

/** A chunk or a whole answer as the engine sent it, parsed. */
export type Answer = { readonly [key: string]: unknown }

export interface Asked {
  readonly stream: boolean
  /** The answer gets so many tokens at most, where the request does not say. */
  readonly outputTokensMax?: number | undefined
}

export interface RequestSize {
  /** Never less than the tokens of all its prompts. */
  readonly promptTokensMax: number
  /** A guess at them. */
  readonly promptTokensLikely: number
  readonly promptCount: number
  /** For each choice; undefined where the request does not say. */
  readonly outputTokensMax: number | undefined
}

/**
 * One request on its way to an engine: what a route asks for, apart from how it is carried. The bytes of the answer
 * pass through untouched unless `rewrite` is there.
 */
export interface Exchange {
  readonly model: string
  readonly path: string
  /** The body for this engine, built field by field. @throws HelixError when this engine cannot do what is asked */
  body(replica: Replica, asked: Asked): Answer
  /** What it takes at most, as far as the request itself says. */
  size(): RequestSize
  /** How urgent it is to whoever asks. */
  readonly tier: Tier
  /**
   * A text that begins as the prompt does: of two requests with a common beginning an engine reads it once. Undefined where
   * nothing is gained by that.
   */
  readonly prompt: (() => string) | undefined
  /** The parameter that holds the input, for errors about its length. */
  readonly inputParam: string
  /** The parameter that constrains the answer to a schema, for errors about it; undefined when none does. */
  readonly schemaParam: string | undefined
  /** Whether the client gets an event stream. */
  readonly stream: boolean
  /** Whether the client asked for the usage chunk of a stream. */
  readonly includeUsage: boolean
  /** Slots that it fills at the same time. */
  readonly choices: number
  /** Choices per prompt, to tell which prompt a choice belongs to. */
  readonly choicesPerPrompt: number
  /**
   * Makes the whole answer from a stream, where the engine's own whole answer would be wrong; undefined when the
   * engine's answer is right.
   */
  readonly collect: (() => Collector) | undefined
  /** Changes what the engine says into what the client is promised; undefined when nothing needs to change. */
  readonly rewrite: ((replica: Replica) => Rewrite | undefined) | undefined
  /** What a cache has to know; undefined where answers are not kept. */
  readonly cacheable: Cacheable | undefined
}

export interface Cacheable {
  /** The shape of the answer: chunks and whole are made of each other by it. */
  readonly kind: AnswerKind
  /** The same request would be answered in the same way again. */
  readonly deterministic: boolean
  /** As it was parsed. */
  readonly request: object
}

export type AnswerKind = 'chat' | 'text' | 'embedding'

export interface Collector {
  add(chunk: Answer): void
  /** The answer, without `usage`. */
  answer(): Answer
}

export interface Rewrite {
  /** The chunks to send in place of this one. */
  chunk(chunk: Answer): readonly Answer[]
  whole(answer: Answer): Answer
}
