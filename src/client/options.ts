import type { HelixFlowError } from './helix-flow-error.ts'
import type { Time } from './time.ts'
import type { WebSocketClass } from './web-socket.ts'

export interface HelixFlowOptions {
  /** Of the server, as https://ai.example or with a path before its addresses. */
  readonly url: string
  /** An API key or access token, or where to get the one that is good now. */
  readonly apiKey?: string | (() => string | Promise<string>) | undefined
  /** Asked for a ticket before each connection: for pages, which should know no key. */
  readonly ticket?: (() => string | Promise<string>) | undefined
  /** Where there is none of its own: Node 20, with the one of the package ws. */
  readonly WebSocket?: WebSocketClass | undefined
  /** How many events of one stream or topic are kept for a reader that is slow; 1024 unless said otherwise. */
  readonly bufferEvents?: number | undefined
  /**
   * Without a connection for so long, streams and requests fail with `unreachable`; two minutes unless said otherwise.
   * Topics wait for ever.
   */
  readonly giveUpMs?: number | undefined
}

export interface ClientEvents {
  /** Of the connection. */
  readonly state: 'idle' | 'connecting' | 'open' | 'waiting' | 'closed'
  /** What the operator tells everybody. */
  readonly notice: { readonly message: string; readonly level: 'info' | 'warning'; readonly from: string }
  /** The credential ends soon; where `apiKey` or `ticket` is a function, another one is on its way. */
  readonly expiring: { readonly inMs: number }
  /** The connection ended and will not come back; the next call tries anew. */
  readonly failure: HelixFlowError
}

/** Time and chance, which tests give. */
export interface Surroundings {
  readonly time: Time
  /** Uniform in [0, 1). */
  readonly random: () => number
}
