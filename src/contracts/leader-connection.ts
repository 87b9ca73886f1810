import { setMaxListeners } from 'node:events'
import { type CallOptions, type Client, createClient, type Transport } from '@connectrpc/connect'
import { type Clock, delay } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import { PoolService } from './gen/helixflow/v1/pool_pb.ts'
import { fromConnectError } from './rpc-errors.ts'

export interface LeaderConnectionOptions {
  /** Of every pool that may lead. */
  readonly urls: readonly string[]
  readonly open: (url: string) => Transport
  readonly clock: Clock
  readonly log: Logger
}

export interface CallLimits {
  readonly signal: AbortSignal
  /** How long a leader is looked for, and the call made anew with the next, before it fails. */
  readonly patienceMs: number
  /** Longest wait for one answer; by default as long as it takes. */
  readonly timeoutMs?: number
}

export type PoolServiceClient = Client<typeof PoolService>

/** The pool that leads, as far as is known here. */
export interface Leader {
  readonly url: string
  readonly client: PoolServiceClient
  /** Aborts when it is known to lead no more. */
  readonly gone: AbortSignal
}

/** For one answer to the question who leads, which costs a pool nothing. */
const ASK_TIMEOUT_MS = 1_000
const RETRY_DELAY_MIN_MS = 50
const RETRY_DELAY_MAX_MS = 1_000

/**
 * The way to whichever pool leads: asks all that may, stays with the one that does, and looks for the next when it no
 * longer answers or says that it leads no more. Calls to the pool mean the same when they are made twice, so that one
 * that was under way is made again.
 */
export class LeaderConnection {
  private readonly clients = new Map<string, PoolServiceClient>()
  private current: (Leader & { readonly end: AbortController }) | undefined
  private finding: Promise<Leader> | undefined
  private readonly stopping = new AbortController()

  constructor(private readonly options: LeaderConnectionOptions) {
    setMaxListeners(0, this.stopping.signal)
    for (const url of options.urls) this.add(url)
  }

  /** @throws HelixError `pool_unavailable`; what the pool says; the signal's reason when it aborts first */
  async call<Answer>(
    work: (client: PoolServiceClient, options: CallOptions) => Promise<Answer>,
    { signal, patienceMs, timeoutMs }: CallLimits,
  ): Promise<Answer> {
    const { clock } = this.options
    const deadlineMs = clock.monotonic() + patienceMs
    for (let failures = 0; ; failures++) {
      try {
        const leader = await this.leader()
        const limits = timeoutMs === undefined ? {} : { timeoutMs }
        const options = { ...limits, signal: AbortSignal.any([signal, leader.gone]) }
        return await this.callOne(leader, (client) => work(client, options))
      } catch (reason) {
        if (signal.aborted) throw signal.reason
        const error = HelixError.from(reason)
        const isElsewhere = error.code === 'not_leader' || error.code === 'pool_unavailable'
        const waitMs = Math.min(RETRY_DELAY_MAX_MS, RETRY_DELAY_MIN_MS * 2 ** failures)
        if (!isElsewhere || this.stopping.signal.aborted) throw error
        if (clock.monotonic() + waitMs > deadlineMs) throw unavailable(error)
        // Rejects only when nobody waits any more, which the next turn sees.
        await delay(clock, waitMs, AbortSignal.any([signal, this.stopping.signal])).catch(() => {})
      }
    }
  }

  /** @throws HelixError `pool_unavailable` when none leads at present */
  leader(): Promise<Leader> {
    if (this.current) return Promise.resolve(this.current)
    this.finding ??= this.find().finally(() => {
      this.finding = undefined
    })
    return this.finding
  }

  /** It was heard to lead no more, or is not heard at all: whoever waits for it asks the next. */
  drop({ url }: Pick<Leader, 'url'>): void {
    if (this.current?.url !== url) return
    const { end } = this.current
    this.current = undefined
    end.abort()
  }

  stop(): void {
    this.stopping.abort()
    if (this.current) this.drop(this.current)
  }

  private async callOne<Answer>(
    leader: Leader,
    work: (client: PoolServiceClient) => Promise<Answer>,
  ): Promise<Answer> {
    try {
      return await work(leader.client)
    } catch (reason) {
      const error = fromConnectError(reason, unavailable(reason))
      if (error.code === 'not_leader' || error.code === 'pool_unavailable') this.drop(leader)
      throw error
    }
  }

  private async find(): Promise<Leader> {
    const found = await Promise.any([...this.clients.keys()].map((url) => this.ask(url))).catch(
      () => undefined,
    )
    if (!found || this.stopping.signal.aborted) throw unavailable('none leads')
    const end = new AbortController()
    setMaxListeners(0, end.signal)
    this.current = { ...found, end, gone: end.signal }
    this.options.log.info('pool found', { url: found.url })
    return this.current
  }

  private async ask(url: string): Promise<{ readonly url: string; readonly client: PoolServiceClient }> {
    const client = this.add(url)
    const { signal } = this.stopping
    const { leads, leaderUrl } = await client.findLeader({}, { timeoutMs: ASK_TIMEOUT_MS, signal })
    if (leads) return { url, client }
    // One that is not in the settings here, for example one that came later: asked with the others from now on.
    if (leaderUrl !== undefined) this.add(leaderUrl)
    throw unavailable(`${url} does not lead`)
  }

  private add(url: string): PoolServiceClient {
    const client = this.clients.get(url) ?? createClient(PoolService, this.options.open(url))
    this.clients.set(url, client)
    return client
  }
}

function unavailable(cause: unknown): HelixError {
  return new HelixError('pool_unavailable', 'The inference pool cannot be reached. Try again shortly.', {
    internal: `no pool: ${String(cause)}`,
    cause,
    retryAfterMs: 1_000,
  })
}
