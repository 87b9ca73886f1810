import { AdaptiveCache } from './adaptive-cache.ts'
import { answerBytes, type CachedAnswer } from './cached-answer.ts'

/** A map within a bound of bytes. */
export interface BoundedMap<Value> {
  readonly size: number
  readonly bytes: number
  get(key: string): Value | undefined
  set(key: string, value: Value, sizeBytes: number): void
  delete(key: string): void
  clear(): void
}

/** Answers in the memory of this process. */
export class MemoryLayer {
  constructor(private readonly answers: BoundedMap<CachedAnswer>) {}

  get entries(): number {
    return this.answers.size
  }

  get bytes(): number {
    return this.answers.bytes
  }

  get(key: string): CachedAnswer | undefined {
    return this.answers.get(key)
  }

  set(key: string, answer: CachedAnswer): void {
    this.answers.set(key, answer, answerBytes(answer))
  }

  delete(key: string): void {
    this.answers.delete(key)
  }

  clear(): void {
    this.answers.clear()
  }
}

/** The one line that says what makes room for what. */
export function boundedMap(bytesMax: number): BoundedMap<CachedAnswer> {
  return new AdaptiveCache<CachedAnswer>({ bytesMax })
}
