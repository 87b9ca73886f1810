import { connect, type NetConnectOpts, type Socket } from 'node:net'
import { type Answer, AnswerReader } from './answer-reader.ts'

export interface LoadOptions {
  readonly to: NetConnectOpts
  /** Whole requests, head and body; connection i sends the i-th, over and over. */
  readonly requests: readonly Buffer[]
  readonly connections: number
  /** No request begins after this time, or after this many on a connection; those at work are waited for. */
  readonly stopAfter: { readonly ms: number } | { readonly requests: number }
  /** Throws when an answer is not what it should be. */
  check(answer: Answer): void
}

export interface LoadResult {
  readonly requests: number
  readonly elapsedMs: number
  readonly p50Ms: number
  readonly p90Ms: number
  readonly p99Ms: number
  readonly maxMs: number
}

/**
 * A closed loop: each connection sends its next request when the last answer was read and found right. The first
 * wrong answer or broken connection ends it with an error: a gateway that fails must not look fast.
 */
export async function load(options: LoadOptions): Promise<LoadResult> {
  const startMs = performance.now()
  const { stopAfter } = options
  const mayGoOn = (done: number) =>
    'ms' in stopAfter ? performance.now() - startMs < stopAfter.ms : done < stopAfter.requests
  const connections = Array.from({ length: options.connections }, (_, index) => {
    const request = options.requests[index % options.requests.length]
    if (!request) throw new Error('nothing to send')
    return new Connection(options, request, mayGoOn)
  })
  try {
    await Promise.all(connections.map((connection) => connection.run()))
  } finally {
    for (const connection of connections) connection.close()
  }
  const elapsedMs = performance.now() - startMs
  const sorted = Float64Array.from(connections.flatMap(({ latenciesMs }) => latenciesMs)).sort()
  const share = (part: number) => sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? 0
  return {
    requests: sorted.length,
    elapsedMs,
    p50Ms: share(0.5),
    p90Ms: share(0.9),
    p99Ms: share(0.99),
    maxMs: share(1),
  }
}

/** A POST of this JSON as it goes over the wire. */
export function postRequest(path: string, headers: Readonly<Record<string, string>>, body: object): Buffer {
  const text = JSON.stringify(body)
  const lines = Object.entries({
    host: 'localhost',
    'content-type': 'application/json',
    ...headers,
    'content-length': String(Buffer.byteLength(text)),
  }).map(([name, value]) => `${name}: ${value}\r\n`)
  return Buffer.from(`POST ${path} HTTP/1.1\r\n${lines.join('')}\r\n${text}`)
}

class Connection {
  readonly latenciesMs: number[] = []
  private socket: Socket | undefined
  private reader = new AnswerReader()
  private sentMs = 0
  private ended = false
  /** Whether the present connection has brought an answer already. */
  private answered = false
  private settle: { readonly done: () => void; readonly fail: (cause: unknown) => void } | undefined

  constructor(
    private readonly options: LoadOptions,
    private readonly request: Buffer,
    private readonly mayGoOn: (done: number) => boolean,
  ) {}

  run(): Promise<void> {
    return new Promise((done, fail) => {
      this.settle = { done, fail }
      this.next()
    })
  }

  close(): void {
    this.ended = true
    this.socket?.destroy()
  }

  private next(): void {
    if (!this.mayGoOn(this.latenciesMs.length)) {
      this.ended = true
      this.settle?.done()
      return
    }
    const socket = this.socket ?? this.open()
    this.sentMs = performance.now()
    socket.write(this.request)
  }

  private open(): Socket {
    const socket = connect(this.options.to)
    socket.setNoDelay(true)
    socket.on('data', (bytes) => this.read(bytes))
    socket.on('error', (cause) => {
      // A reset of a connection that was used is a close as any other; that event follows.
      if (!this.answered) this.settle?.fail(cause)
    })
    socket.on('close', () => {
      if (socket === this.socket && !this.ended) this.lost()
    })
    this.socket = socket
    this.reader = new AnswerReader()
    return socket
  }

  private read(bytes: Buffer): void {
    try {
      const answer = this.reader.push(bytes)
      if (!answer) return
      this.latenciesMs.push(performance.now() - this.sentMs)
      if (this.reader.midway) throw new Error('bytes after the end of an answer')
      this.options.check(answer)
      this.answered = true
      if (answer.closes) this.drop()
      this.next()
    } catch (cause) {
      this.settle?.fail(cause)
    }
  }

  private drop(): void {
    this.socket?.destroy()
    this.socket = undefined
    this.answered = false
  }

  /**
   * A server may close a connection after an answer, and llama-server does so without saying it before: what was sent
   * meanwhile is sent again, as every HTTP client does.
   */
  private lost(): void {
    if (!this.answered || this.reader.midway) {
      this.settle?.fail(new Error('the server closed a connection before it answered'))
      return
    }
    this.drop()
    this.open().write(this.request)
  }
}
