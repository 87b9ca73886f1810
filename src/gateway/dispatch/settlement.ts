import type { Clock } from '../../core/clock.ts'
import type { HelixError } from '../../core/errors.ts'
import type { RouteReason } from '../../scheduler/routing.ts'
import { NO_USAGE, type Usage } from './usage.ts'

/** Where a request was sent. */
export interface Served {
  readonly replica: string
  readonly route: RouteReason
  /** For how long it waited for that. */
  readonly waitedMs: number
}

/** What a request cost, and how it ended. */
export interface Settlement {
  readonly usage: Usage
  /** The engine did not say: tokens are the pieces of text that it sent, or unknown and none. */
  readonly estimated: boolean
  /** An engine had begun to work on it. */
  readonly worked: boolean
  /** When the first token went out, on the monotonic clock; undefined for an answer in one piece. */
  readonly firstTokenMs: number | undefined
  readonly error: HelixError | undefined
  /** By whom, the last time it was sent; absent where no replica was found. */
  readonly served?: Served | undefined
  /** The answer was there before, or is another request's too, which has its usage. */
  readonly cache?: 'hit' | 'coalesced' | undefined
}

/** What is found out of one request on its way, and told once. */
export class Account {
  worked = false
  served: Served | undefined
  private told = false
  private usage: Usage | undefined
  /** When the first piece of a stream went out, on the monotonic clock. */
  firstTokenMs: number | undefined
  private counted: () => number = () => 0

  constructor(
    private readonly tell: (settlement: Settlement) => void,
    private readonly clock: Clock,
    /** What the prompt probably was, for an engine that did not come to say. */
    private readonly promptTokensLikely: () => number,
  ) {}

  /** The engine's words are on their way; `counted` says how many pieces came so far. */
  follow(counted: () => number): void {
    this.counted = counted
  }

  token(): void {
    this.firstTokenMs ??= this.clock.monotonic()
  }

  /** To be called before the last bytes go out. @throws what `tell` throws: then they must not go out */
  complete(usage: Usage | undefined): void {
    const { firstTokenMs, served } = this
    this.worked = true
    this.usage = usage
    this.tell({
      usage: usage ?? this.estimate(undefined),
      estimated: usage === undefined,
      worked: true,
      firstTokenMs,
      error: undefined,
      served,
    })
    this.told = true
  }

  fail(error: HelixError): void {
    if (this.told) return
    const { worked, firstTokenMs, served } = this
    this.told = true
    this.tell({ usage: this.estimate(error), estimated: true, worked, firstTokenMs, error, served })
  }

  /** What an engine has done for it so far, as well as is known. */
  used(): Usage {
    if (this.usage) return this.usage
    return {
      ...NO_USAGE,
      promptTokens: this.worked ? this.promptTokensLikely() : 0,
      completionTokens: this.counted(),
    }
  }

  /** Whoever leaves early has had the engine's work on the prompt; a failure that is ours is not charged for it. */
  private estimate(error: HelixError | undefined): Usage {
    const completionTokens = this.counted()
    const read = this.worked && (completionTokens > 0 || error?.code === 'client_closed_request')
    return { ...NO_USAGE, promptTokens: read ? this.promptTokensLikely() : 0, completionTokens }
  }
}
