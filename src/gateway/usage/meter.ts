import type { Identity } from '../../contracts/auth.ts'
import { costOf, type Price } from '../../contracts/prices.ts'
import type { UsageSink } from '../../contracts/usage.ts'
import type { Clock } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'
import type { Logger } from '../../core/log.ts'
import type { Settlement } from '../dispatch/settlement.ts'
import { UsageDelivery } from './delivery.ts'
import { Spool } from './spool.ts'
import { recordBytesMax } from './spool-record.ts'

export interface MeterOptions {
  readonly sink: UsageSink
  readonly directory: string
  readonly bytesMax: number
  /** What a model's tokens cost; undefined: nothing. */
  readonly price: (model: string) => Price | undefined
  readonly instance: string
  readonly clock: Clock
  readonly log: Logger
}

/** What is known of a request before it goes to an engine. */
export interface MeteredRequest {
  readonly requestId: string
  readonly identity: Identity
  readonly route: string
  readonly model: string
  readonly streamed: boolean
  readonly user: string | undefined
  /** When it arrived, on the monotonic clock. */
  readonly startedMs: number
}

/** Keeps a record of what each request cost. */
export interface Meter {
  /** @throws HelixError `storage_unavailable` when there is no room for its record: then it must not run */
  admit(request: MeteredRequest): Ticket
}

/** Room for the record of one request. */
export interface Ticket {
  /**
   * Before the last bytes of a complete answer go out, or when a failed one has ended. What no engine has worked on
   * leaves no record. Returns what it cost, in billionths.
   * @throws HelixError `storage_unavailable` when a complete answer cannot be recorded: then it must not be completed
   */
  settle(settlement: Settlement): number
  /** Gives back what was not used. */
  close(): void
}

const USER_LENGTH_MAX = 256

/** The gateway's own meter: a spool beside it, and its delivery to the database. */
export class UsageMeter implements Meter {
  private readonly spool: Spool
  private readonly delivery: UsageDelivery

  /** @throws NodeJS.ErrnoException when the spool's folder cannot be made */
  constructor(private readonly options: MeterOptions) {
    const { sink, directory, bytesMax, clock, log } = options
    this.spool = new Spool({ directory, bytesMax, token: 'usage', clock, log })
    this.delivery = new UsageDelivery({ spool: this.spool, sink, clock, log })
  }

  admit(request: MeteredRequest): Ticket {
    const { organisationId, projectId } = request.identity
    const keyId = payer(request.identity)
    const user = request.user === undefined ? undefined : userLabel(request.user)
    const bytes = recordBytesMax([
      request.requestId,
      organisationId,
      projectId,
      keyId,
      request.model,
      request.route,
      this.options.instance,
      user,
      request.identity.userId,
    ])
    if (!this.spool.reserve(bytes)) {
      throw new HelixError(
        'storage_unavailable',
        'There is no room to record what requests cost. Try again shortly.',
        { retryAfterMs: 1_000, internal: 'the usage spool is full' },
      )
    }
    return new SpoolTicket(
      { ...this.options, spool: this.spool, delivery: this.delivery },
      { ...request, user },
      bytes,
    )
  }

  /** Records that the database has not taken yet. */
  get undeliveredBytes(): number {
    return this.spool.undeliveredBytes
  }

  /** Why requests are refused, or undefined. For `/readyz`. */
  problem(): HelixError | undefined {
    return this.spool.problem()
  }

  stop(): Promise<void> {
    return this.delivery.stop()
  }
}

interface TicketParts extends MeterOptions {
  readonly spool: Spool
  readonly delivery: UsageDelivery
}

class SpoolTicket implements Ticket {
  private readonly startedAtMs: number
  private open = true

  constructor(
    private readonly parts: TicketParts,
    private readonly request: MeteredRequest,
    private readonly reservedBytes: number,
  ) {
    const { clock } = parts
    this.startedAtMs = Math.round(clock.now() - (clock.monotonic() - request.startedMs))
  }

  settle(settlement: Settlement): number {
    if (!this.open || !settlement.worked) return 0
    const { spool, delivery, log } = this.parts
    const record = this.record(settlement)
    try {
      spool.append(record, this.reservedBytes)
      this.open = false
      delivery.notify()
    } catch (reason) {
      if (settlement.error === undefined) throw reason
      log.error('usage record lost', { record, cause: HelixError.from(reason).message })
    }
    return record.cost
  }

  close(): void {
    if (this.open) this.parts.spool.release(this.reservedBytes)
    this.open = false
  }

  private record({ usage, estimated, firstTokenMs, error, cache }: Settlement) {
    const { requestId, identity, model, route, streamed, user, startedMs } = this.request
    const price = this.parts.price(model)
    return {
      requestId,
      startedAtMs: this.startedAtMs,
      durationMs: toTenths(this.parts.clock.monotonic() - startedMs),
      firstTokenMs: firstTokenMs === undefined ? undefined : toTenths(firstTokenMs - startedMs),
      organisationId: identity.organisationId,
      projectId: identity.projectId,
      keyId: payer(identity),
      model,
      route,
      status: error?.status ?? 200,
      errorCode: error?.code,
      promptTokens: usage.promptTokens,
      completionTokens: usage.completionTokens,
      cachedTokens: usage.cachedTokens,
      estimated,
      streamed,
      user,
      userId: identity.userId,
      cost: price ? costOf(price, usage) : 0,
      cache,
      instance: this.parts.instance,
    }
  }
}

function toTenths(ms: number): number {
  return Math.round(10 * ms) / 10
}

/** Bounded, and without what a database cannot keep in a text. */
function userLabel(given: string): string {
  const text = given.slice(0, USER_LENGTH_MAX)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: replacing them is the purpose
  return /^[\x20-\x7e]*$/.test(text) ? text : text.toWellFormed().replace(/[\u0000-\u001f\u007f]/g, '\ufffd')
}

/** The key that paid; a login has none, and is named itself. */
function payer({ keyId, actor }: Identity): string {
  return keyId ?? actor
}
