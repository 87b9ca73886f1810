import { backoffMs } from './backoff.ts'
import { verdictOf } from './closing.ts'
import { Deferred } from './deferred.ts'
import { HelixFlowError } from './helix-flow-error.ts'
import type { Hello, ServerMessage, Welcome } from './messages.ts'
import type { Time } from './time.ts'
import type { WebSocketClass } from './web-socket.ts'
import { type Ending, type Outgoing, Wire } from './wire.ts'

export type ConnectionState = 'idle' | 'connecting' | 'open' | 'waiting' | 'closed'

/** Where to connect to, and as whom. */
export interface Endpoint {
  readonly url: string
  readonly WebSocket: WebSocketClass
  /** Asked before each attempt. @throws HelixFlowError that is not retryable: there will be none */
  protocols(): Promise<string[]>
  /** Why a handshake failed, where the server says it and another attempt cannot help. */
  refusal(): Promise<HelixFlowError | undefined>
}

export interface ConnectionOwner {
  /** Whether anybody needs one. */
  readonly needed: boolean
  hello(): Hello
  opened(welcome: Welcome): void
  message(message: ServerMessage, size: number): void
  /** It broke, and another one may follow. */
  lost(): void
  /** For so long there was none. */
  unreachable(error: HelixFlowError): void
  /** There will be none. */
  failed(error: HelixFlowError): void
  changed(state: ConnectionState): void
}

export interface ConnectionParts {
  readonly endpoint: Endpoint
  readonly owner: ConnectionOwner
  readonly time: Time
  readonly random: () => number
  readonly giveUpMs: number
}

/** A server that asks to be left alone for a while gets at least this many doublings of the first wait. */
const LATER_FAILURES = 2

/** One connection at a time, made anew when it breaks, for as long as somebody needs it. */
export class Connection {
  private wire: Wire | undefined
  private failures = 0
  private offlineSinceMs: number | undefined
  /** What a server that goes away asked for. */
  private comeBackMs: number | undefined
  private cancelRetry: (() => void) | undefined
  private current: ConnectionState = 'idle'
  private readonly closed = new Deferred<void>()
  private lastFailure: unknown

  constructor(private readonly parts: ConnectionParts) {}

  get state(): ConnectionState {
    return this.current
  }

  /** Begins to connect if it must. */
  ensure(): void {
    if (this.current !== 'idle') return
    this.offlineSinceMs = this.parts.time.now()
    void this.connect()
  }

  /** For an open connection; what is sent on no other is lost. */
  send(message: Outgoing): void {
    if (this.current === 'open') this.wire?.send(message)
  }

  /** Leaves this connection for another one, with what the credentials are now. */
  renew(): void {
    if (this.current !== 'open') return
    this.comeBackMs = 0
    this.wire?.close()
  }

  /** Ends it for ever; resolves when it has ended. */
  close(): Promise<void> {
    this.cancelRetry?.()
    this.change('closed')
    this.wire?.close()
    if (this.wire === undefined) this.closed.resolve()
    return this.closed.promise
  }

  private async connect(): Promise<void> {
    this.change('connecting')
    const { endpoint, owner, time } = this.parts
    try {
      const protocols = await endpoint.protocols()
      if (this.current !== 'connecting') return
      this.wire = new Wire(
        new endpoint.WebSocket(endpoint.url, protocols),
        {
          hello: () => owner.hello(),
          welcomed: (welcome) => this.opened(welcome),
          message: (message, size) => this.message(message, size),
          ended: (ending) => void this.ended(ending),
        },
        time,
      )
    } catch (reason) {
      // It was closed while its credentials were on their way.
      if (this.current !== 'connecting') return
      const error = reason instanceof HelixFlowError ? reason : noCredentials(reason)
      this.lastFailure = error
      if (error.retryable) this.retry()
      else this.fail(error)
    }
  }

  private opened(welcome: Welcome): void {
    if (this.current !== 'connecting') return
    this.offlineSinceMs = undefined
    this.lastFailure = undefined
    this.change('open')
    this.parts.owner.opened(welcome)
  }

  private message(message: ServerMessage, size: number): void {
    if (this.current !== 'open') return
    // It was of use: what comes next is a new misfortune.
    this.failures = 0
    if (message.type === 'server.draining') this.comeBackMs = message.reconnect_after_ms
    this.parts.owner.message(message, size)
  }

  private async ended({ code, reason, welcomed }: Ending): Promise<void> {
    this.wire = undefined
    if (this.current === 'closed') {
      this.closed.resolve()
      return
    }
    this.offlineSinceMs ??= this.parts.time.now()
    this.change('waiting')
    this.parts.owner.lost()
    const verdict = verdictOf(code, reason)
    if (verdict.kind === 'final') return this.fail(verdict.error)
    if (verdict.kind === 'later') this.failures = Math.max(this.failures, LATER_FAILURES)
    const refusal = welcomed ? undefined : await this.parts.endpoint.refusal()
    if (this.current !== 'waiting') return
    if (refusal !== undefined) this.fail(refusal)
    else this.retry()
  }

  private retry(): void {
    const { owner, time, random, giveUpMs } = this.parts
    const offlineMs = time.now() - (this.offlineSinceMs ?? time.now())
    if (offlineMs >= giveUpMs) {
      this.offlineSinceMs = time.now()
      owner.unreachable(unreachable(offlineMs, this.lastFailure))
    }
    if (!owner.needed) {
      this.rest()
      return
    }
    const delayMs = this.comeBackMs ?? backoffMs(this.failures, random)
    this.comeBackMs = undefined
    this.failures++
    this.change('waiting')
    this.cancelRetry = time.schedule(delayMs, () => {
      if (owner.needed) void this.connect()
      else this.rest()
    })
  }

  private rest(): void {
    this.failures = 0
    this.change('idle')
  }

  private fail(error: HelixFlowError): void {
    this.rest()
    this.parts.owner.failed(error)
  }

  private change(state: ConnectionState): void {
    if (this.current === state || this.current === 'closed') return
    this.current = state
    this.parts.owner.changed(state)
  }
}

function noCredentials(cause: unknown): HelixFlowError {
  return new HelixFlowError('unreachable', 'There are no credentials at the moment.', {
    retryable: true,
    cause,
  })
}

function unreachable(offlineMs: number, cause: unknown): HelixFlowError {
  const seconds = Math.round(offlineMs / 1_000)
  return new HelixFlowError('unreachable', `There was no connection for ${seconds} s.`, {
    retryable: true,
    cause,
  })
}
