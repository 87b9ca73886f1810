/** What to do about a connection that is silent. */
export type LivenessStep =
  | { readonly kind: 'wait'; readonly ms: number }
  | { readonly kind: 'ping'; readonly ms: number }
  | { readonly kind: 'dead' }

/** A server that lives answers a ping in less. */
const ANSWER_MS = 15_000

/**
 * A page does not see the frames by which server and browser assure each other that they live, so it asks in a message.
 * @param silentMs since something was heard
 * @param asked whether it has been asked since
 */
export function livenessStep(heartbeatMs: number, silentMs: number, asked: boolean): LivenessStep {
  if (silentMs >= heartbeatMs + ANSWER_MS) return { kind: 'dead' }
  if (silentMs < heartbeatMs) return { kind: 'wait', ms: heartbeatMs - silentMs }
  return { kind: asked ? 'wait' : 'ping', ms: heartbeatMs + ANSWER_MS - silentMs }
}
