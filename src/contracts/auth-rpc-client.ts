import { setMaxListeners } from 'node:events'
import { type CallOptions, createClient, type Transport } from '@connectrpc/connect'
import { type Clock, delay } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import { noSpan, type Span } from '../core/tracing.ts'
import type {
  AdministrationCall,
  AuthClient,
  FinishLoginRequest,
  Identity,
  IssuedTokens,
  LoginRequest,
  StartedLogin,
  TokenIssuer,
  TokenRequest,
} from './auth.ts'
import {
  fromIdentityMessage,
  fromTokensMessage,
  toAdministerRequest,
  toIssueTokenRequest,
  toUsageMessage,
} from './auth-messages.ts'
import { AuthService } from './gen/helixflow/v1/auth_pb.ts'
import { toReserveSpendRequest, toSpendQueryMessage } from './limit-messages.ts'
import type { SpendClient, SpendQuery, SpendReservation } from './limits.ts'
import { ResponsesRpcClient } from './responses-rpc-client.ts'
import type { ResponsesStore } from './responses-store.ts'
import { fromConnectError } from './rpc-errors.ts'
import type { UsageRecord, UsageSink } from './usage.ts'
import { VectorRpcClient } from './vector-rpc-client.ts'
import type { VectorStore } from './vector-store.ts'

export interface AuthRpcClientOptions {
  readonly transport: Transport
  /** Longest wait for an answer. */
  readonly timeoutMs: number
  readonly clock: Clock
  readonly log: Logger
}

const RECONNECT_DELAY_MIN_MS = 50
const RECONNECT_DELAY_MAX_MS = 2_000

/** The auth service as every other service sees it, wherever it runs. */
export class AuthRpcClient implements AuthClient, TokenIssuer, UsageSink, SpendClient {
  readonly responses: ResponsesStore
  readonly vectors: VectorStore
  private readonly client
  private readonly listeners = new Set<(subject: string | undefined) => void>()
  private readonly stopping = new AbortController()
  private watching: Promise<void> | undefined

  constructor(private readonly options: AuthRpcClientOptions) {
    // Every call listens, and there may be many at the same time: to Node that looks like a leak.
    setMaxListeners(0, this.stopping.signal)
    this.client = createClient(AuthService, options.transport)
    this.responses = new ResponsesRpcClient(this.client, (ask) => this.call(ask))
    this.vectors = new VectorRpcClient(this.client, (ask) => this.call(ask))
  }

  async verify(credential: string, span: Span = noSpan): Promise<Identity> {
    const headers = span.headers()
    const { identity } = await this.call((options) =>
      this.client.verify({ credential }, { ...options, headers }),
    )
    if (identity) return fromIdentityMessage(identity)
    throw unreachable('the auth service answered with no identity')
  }

  async administer(call: AdministrationCall): Promise<unknown> {
    const { output } = await this.call((options) =>
      this.client.administer(toAdministerRequest(call), options),
    )
    return JSON.parse(output)
  }

  async issueToken(request: TokenRequest): Promise<IssuedTokens> {
    const { tokens } = await this.call((options) =>
      this.client.issueToken(toIssueTokenRequest(request), options),
    )
    if (tokens) return fromTokensMessage(tokens)
    throw unreachable('the auth service answered with no tokens')
  }

  async keySet(): Promise<{ readonly keys: readonly object[] }> {
    const { keySet } = await this.call((options) => this.client.getKeySet({}, options))
    return JSON.parse(keySet)
  }

  startLogin(request: LoginRequest): Promise<StartedLogin> {
    return this.call((options) => this.client.startLogin(request, options))
  }

  async finishLogin(request: FinishLoginRequest): Promise<IssuedTokens & { readonly returnTo: string }> {
    const { tokens, returnTo } = await this.call((options) => this.client.finishLogin(request, options))
    if (tokens) return { ...fromTokensMessage(tokens), returnTo }
    throw unreachable('the auth service answered with no tokens')
  }

  async record(batch: readonly UsageRecord[]): Promise<void> {
    await this.call((options) => this.client.recordUsage({ records: batch.map(toUsageMessage) }, options))
  }

  async spent(organisationId: string, queries: readonly SpendQuery[]): Promise<readonly number[]> {
    const { spent } = await this.call((options) =>
      this.client.readSpend({ organisationId, queries: queries.map(toSpendQueryMessage) }, options),
    )
    return spent.map(Number)
  }

  async reserveSpend(reservation: SpendReservation): Promise<number | undefined> {
    const { refusedClaim } = await this.call((options) =>
      this.client.reserveSpend(toReserveSpendRequest(reservation), options),
    )
    return refusedClaim
  }

  async releaseSpend(organisationId: string, requestIds: readonly string[]): Promise<void> {
    const request = { organisationId, requestIds: [...requestIds] }
    await this.call((options) => this.client.releaseSpend(request, options))
  }

  async problem(): Promise<HelixError | undefined> {
    try {
      await this.call((options) => this.client.checkHealth({}, options))
      return undefined
    } catch (reason) {
      return HelixError.from(reason)
    }
  }

  watchRevocations(listener: (subject: string | undefined) => void): () => void {
    this.listeners.add(listener)
    this.watching ??= this.watch()
    return () => this.listeners.delete(listener)
  }

  /** Ends the watch; whoever asks afterwards is refused. */
  async stop(): Promise<void> {
    this.stopping.abort()
    await this.watching
  }

  private async call<Answer>(ask: (options: CallOptions) => Promise<Answer>): Promise<Answer> {
    try {
      return await ask({ timeoutMs: this.options.timeoutMs, signal: this.stopping.signal })
    } catch (reason) {
      throw fromConnectError(reason, unreachable(String(reason)))
    }
  }

  /** Each time that it begins, something may have been missed before: the service's first message says so. */
  private async watch(): Promise<void> {
    const { clock, log } = this.options
    const { signal } = this.stopping
    for (let failures = 0; !signal.aborted; failures++) {
      try {
        for await (const { subject } of this.client.watchRevocations({}, { signal })) {
          failures = 0
          for (const listener of this.listeners) listener(subject)
        }
      } catch (reason) {
        if (!signal.aborted) log.warn('not hearing of revocations', { failures, cause: String(reason) })
      }
      const waitMs = Math.min(RECONNECT_DELAY_MAX_MS, RECONNECT_DELAY_MIN_MS * 2 ** failures)
      // Rejects only when this client is stopped, which the loop sees.
      await delay(clock, waitMs, signal).catch(() => {})
    }
  }
}

function unreachable(internal: string): HelixError {
  return new HelixError('storage_unavailable', 'The auth service cannot be reached. Try again shortly.', {
    internal,
  })
}
