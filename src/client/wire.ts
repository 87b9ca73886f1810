import { livenessStep } from './liveness.ts'
import type { ClientMessageInput, Hello, ServerMessage, Welcome } from './messages.ts'
import { Pacer } from './pacer.ts'
import { readMessage } from './read-message.ts'
import type { Time } from './time.ts'
import type { WebSocketLike } from './web-socket.ts'

export interface WireOwner {
  hello(): Hello
  welcomed(welcome: Welcome): void
  /** @param size of its JSON, in characters */
  message(message: ServerMessage, size: number): void
  /** Called once, last of all. */
  ended(ending: Ending): void
}

export interface Ending {
  readonly code: number
  readonly reason: string
  /** Whether the server had taken the connection. */
  readonly welcomed: boolean
}

/** A message when its turn has come; undefined when nobody wants it any more. */
export type Outgoing = () => string | undefined

const WELCOME_MS = 10_000
/** The server's own limits, a little lower: its clock is another one. */
const PACE = 0.8
const ABNORMAL = 1006

/** One WebSocket from its opening to its end, however that comes. */
export class Wire {
  private welcome: Welcome | undefined
  private pacer: Pacer | undefined
  private readonly outgoing: Outgoing[] = []
  private readonly cancels = new Set<() => void>()
  private heardMs: number
  private asked = false
  private pacing = false
  private over = false

  constructor(
    private readonly socket: WebSocketLike,
    private readonly owner: WireOwner,
    private readonly time: Time,
  ) {
    this.heardMs = time.now()
    socket.binaryType = 'arraybuffer'
    socket.onopen = () => this.write(owner.hello())
    socket.onmessage = ({ data }: { readonly data: unknown }) => this.receive(data)
    socket.onclose = ({ code, reason }: { readonly code: number; readonly reason: string }) =>
      this.finish(code, reason)
    // What failed is closed as well.
    socket.onerror = () => {}
    this.after(WELCOME_MS, () => {
      if (this.welcome === undefined) this.abandon('no_welcome')
    })
  }

  /** Sends in time, under the server's limit. */
  send(message: Outgoing): void {
    this.outgoing.push(message)
    this.flush()
  }

  /** Ends it in order; `ended` follows. */
  close(): void {
    this.socket.close(1000)
    this.after(2_000, () => this.abandon('close'))
  }

  private receive(data: unknown): void {
    if (this.over) return
    this.heardMs = this.time.now()
    this.asked = false
    const text = typeof data === 'string' ? data : new TextDecoder().decode(data as ArrayBuffer)
    let message: ServerMessage | undefined
    try {
      message = readMessage(text)
    } catch {
      // It may be a proxy's; what follows cannot be trusted to be complete.
      this.abandon('unexpected_message')
    }
    if (message === undefined) return
    if (message.type === 'welcome') this.begin(message)
    else if (message.type === 'ping') this.write({ type: 'pong', ...pick(message.n) })
    else this.owner.message(message, text.length)
  }

  private begin(welcome: Welcome): void {
    if (this.welcome !== undefined) return
    this.welcome = welcome
    const { messages_per_second, messages_burst } = welcome.limits
    this.pacer = new Pacer(messages_per_second * PACE, Math.max(1, messages_burst * PACE), this.time.now())
    this.watch(welcome.heartbeat_ms)
    this.owner.welcomed(welcome)
  }

  private watch(heartbeatMs: number): void {
    const step = livenessStep(heartbeatMs, this.time.now() - this.heardMs, this.asked)
    if (step.kind === 'dead') {
      this.abandon('silent')
      return
    }
    if (step.kind === 'ping') {
      this.asked = true
      this.write({ type: 'ping' })
    }
    this.after(Math.max(1, step.ms), () => this.watch(heartbeatMs))
  }

  private flush(): void {
    while (this.pacer !== undefined && !this.over && !this.pacing && this.outgoing.length > 0) {
      if (!this.pacer.take(this.time.now())) {
        this.pacing = true
        this.after(this.pacer.waitMs, () => {
          this.pacing = false
          this.flush()
        })
        break
      }
      const text = this.outgoing.shift()?.()
      if (text !== undefined) this.socket.send(text)
    }
  }

  /** What the connection itself needs goes at once. */
  private write(message: ClientMessageInput): void {
    this.socket.send(JSON.stringify(message))
  }

  /** The other side may never answer: nothing more is heard of this socket. */
  private abandon(reason: string): void {
    if (this.over) return
    this.finish(ABNORMAL, reason)
    if (this.socket.terminate) this.socket.terminate()
    else this.socket.close()
  }

  private finish(code: number, reason: string): void {
    if (this.over) return
    this.over = true
    for (const cancel of this.cancels) cancel()
    this.owner.ended({ code, reason, welcomed: this.welcome !== undefined })
  }

  private after(delayMs: number, task: () => void): void {
    const cancel = this.time.schedule(delayMs, () => {
      this.cancels.delete(cancel)
      if (!this.over) task()
    })
    this.cancels.add(cancel)
  }
}

function pick(n: number | undefined): { readonly n?: number } {
  return n === undefined ? {} : { n }
}
