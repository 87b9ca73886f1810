import { toError } from './failure.ts'
import { HelixFlowError } from './helix-flow-error.ts'
import type { Ack, Failure, Request, Resumed } from './messages.ts'
import type { Outgoing } from './wire.ts'

/** Who waits for the answer to a request. Called at once, in the order of what the server said. */
export interface Asker {
  answered(reply: Ack | Resumed): void
  refused(error: HelixFlowError): void
}

export interface RequestOptions {
  /** Whether a second one does no harm: then it is sent on the next connection when this one is lost. */
  readonly repeatable: boolean
  /** Whether it waits for ever for a connection. */
  readonly patient?: boolean
  /** Whether it is taken however much waits: what streams and topics need, which are few. */
  readonly always?: boolean
  readonly asker: Asker
}

interface Pending {
  readonly text: string
  readonly asker: Asker
  readonly patient: boolean
  repeatable: boolean
  sent: boolean
}

/** What waits for a connection may not be more than that, in characters. */
const WAITING_MAX = 2 ** 20

/** Requests that have no answer yet, sent and not yet sent, in their order. */
export class Requests {
  private readonly pending = new Map<string, Pending>()
  private waiting = 0

  constructor(private readonly nextId: () => string) {}

  get size(): number {
    return this.pending.size
  }

  /** @throws HelixFlowError `queue_full`, `conflict` */
  add(request: Request, { repeatable, patient = false, always = false, asker }: RequestOptions): string {
    const id = 'id' in request ? request.id : this.nextId()
    if (this.pending.has(id)) throw new HelixFlowError('conflict', `A request '${id}' is under way.`)
    const text = JSON.stringify({ ...request, id })
    if (!always && this.waiting > 0 && this.waiting + text.length > WAITING_MAX) {
      throw new HelixFlowError('queue_full', 'Too much is waiting for a connection.', { retryable: true })
    }
    this.pending.set(id, { text, asker, patient, repeatable, sent: false })
    this.waiting += text.length
    return id
  }

  /** Hands over what has not been sent, or one of it. */
  dispatch(send: (message: Outgoing) => void, ids: Iterable<string> = this.pending.keys()): void {
    for (const id of [...ids]) {
      const one = this.pending.get(id)
      if (one === undefined || one.sent) continue
      send(() => {
        if (this.pending.get(id) !== one) return undefined
        this.mark(one, true)
        return one.text
      })
    }
  }

  answered(reply: Ack | Resumed): void {
    this.take(reply.id)?.asker.answered(reply)
  }

  refused(id: string, failure: Failure): void {
    // The next connection leads to a server that takes it.
    if (failure.error.code === 'server_draining' && this.pending.get(id)?.repeatable) return
    this.take(id)?.asker.refused(toError(failure))
  }

  /** The asker does not want it any more; what the server already has is still answered. */
  abandon(id: string): void {
    const one = this.pending.get(id)
    if (one === undefined) return
    one.repeatable = false
    if (!one.sent) this.take(id)
  }

  /** The connection is gone, and answers with it. */
  lost(): void {
    for (const [id, one] of [...this.pending]) {
      if (one.repeatable) this.mark(one, false)
      else if (one.sent) {
        this.take(id)
        one.asker.refused(
          new HelixFlowError('connection_lost', 'The connection broke before the answer came.'),
        )
      }
    }
  }

  /** There is no connection, and there may be none for long. */
  giveUp(error: HelixFlowError): void {
    for (const [id, { patient }] of [...this.pending]) if (!patient) this.take(id)?.asker.refused(error)
  }

  fail(error: HelixFlowError): void {
    for (const id of [...this.pending.keys()]) this.take(id)?.asker.refused(error)
  }

  private take(id: string): Pending | undefined {
    const one = this.pending.get(id)
    if (one === undefined) return undefined
    this.mark(one, true)
    this.pending.delete(id)
    return one
  }

  private mark(one: Pending, sent: boolean): void {
    if (one.sent !== sent) this.waiting += sent ? -one.text.length : one.text.length
    one.sent = sent
  }
}
