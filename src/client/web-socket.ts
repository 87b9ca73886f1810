import { HelixFlowError } from './helix-flow-error.ts'

/** What of a WebSocket is used here: the browser's, Node's and that of the package ws all have it. */
export interface WebSocketLike {
  binaryType: string
  onopen: ((event: never) => void) | null
  onmessage: ((event: never) => void) | null
  onclose: ((event: never) => void) | null
  onerror: ((event: never) => void) | null
  send(text: string): void
  close(code?: number, reason?: string): void
  /** Ends it without waiting for the other side, where there is such a thing. */
  terminate?(): void
}

export type WebSocketClass = new (url: string, protocols: string[]) => WebSocketLike

/** @throws HelixFlowError where there is none */
export function webSocketClass(given: WebSocketClass | undefined): WebSocketClass {
  const found = given ?? (globalThis as { WebSocket?: WebSocketClass }).WebSocket
  if (found !== undefined) return found
  throw new HelixFlowError(
    'invalid_configuration',
    'There is no WebSocket here; give one: new HelixFlowClient({ ..., WebSocket }), from the package ws.',
  )
}
