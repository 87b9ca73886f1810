import { type Agent, type IncomingHttpHeaders, type OutgoingHttpHeaders, request as send } from 'node:http'
import { connect, type Socket } from 'node:net'

export interface RawAnswer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly text: string
  /** Whether the answer came to its end as HTTP has it, or the connection was cut before. */
  readonly ended: 'complete' | 'cut'
}

export interface RawPost {
  /** Over the usual ones; undefined leaves one out. */
  readonly headers?: OutgoingHttpHeaders
  readonly body: string | Buffer
  /** Leaves as soon as the text so far satisfies it. */
  readonly leaveWhen?: (text: string) => boolean
  /** Gives up after so long. */
  readonly timeoutMs?: number
  /** For keep-alive; without one every request has a connection of its own. */
  readonly agent?: Agent
}

/** A client that tells a clean end from a cut, which fetch and SDKs hide. */
export function post(
  url: string,
  { headers, body, leaveWhen, timeoutMs, agent }: RawPost,
): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    const all = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body), ...headers }
    const request = send(url, {
      method: 'POST',
      agent: agent ?? false,
      headers: withoutUndefined(all),
      ...(timeoutMs === undefined ? {} : { signal: AbortSignal.timeout(timeoutMs) }),
    })
    request.on('error', reject)
    request.on('response', (response) => {
      // The server may have answered before it has read everything: that it then closes is no failure.
      request.off('error', reject).on('error', () => {})
      const { statusCode: status = 0, headers } = response
      let text = ''
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk
        if (leaveWhen?.(text)) request.destroy()
      })
      // A cut is an error of the response first; 'close' comes in both cases.
      response.on('error', () => {})
      response.on('close', () => {
        resolve({ status, headers, text, ended: response.complete ? 'complete' : 'cut' })
      })
    })
    request.end(body)
  })
}

function withoutUndefined(headers: OutgoingHttpHeaders): OutgoingHttpHeaders {
  return Object.fromEntries(Object.entries(headers).filter(([, value]) => value !== undefined))
}

/** The values of a stream's data lines, the last of which may be `[DONE]`. */
export function eventsOf(text: string): unknown[] {
  return text
    .split('\n\n')
    .flatMap((event) => /^data: (.*)$/m.exec(event)?.[1] ?? [])
    .map((data) => (data === '[DONE]' ? data : JSON.parse(data)))
}

export interface RawExchange {
  /** What came back. */
  readonly text: string
  /** Whether the other side closed the connection within the time. */
  readonly closed: boolean
  readonly afterMs: number
}

/** Sends bytes as they are, and listens until the connection is closed or the time is over. */
export function exchangeRaw(origin: string, bytes: string | Buffer, waitMs = 3_000): Promise<RawExchange> {
  return listenRaw(origin, { waitMs, keepsItsEnd: false }, (socket) => void socket.write(bytes))
}

/**
 * Sends the first bytes, then more at each beat, as a client does that wants to hold a connection: it goes on when the
 * other side has said goodbye, until the connection is really gone.
 */
export function drip(
  origin: string,
  { first, next, beatMs }: { readonly first: string; readonly next: () => string; readonly beatMs: number },
  waitMs: number,
): Promise<RawExchange> {
  return listenRaw(origin, { waitMs, keepsItsEnd: true }, (socket) => {
    socket.write(first)
    const timer = setInterval(() => socket.writable && socket.write(next()), beatMs)
    socket.once('close', () => clearInterval(timer))
  })
}

function listenRaw(
  origin: string,
  { waitMs, keepsItsEnd }: { readonly waitMs: number; readonly keepsItsEnd: boolean },
  speak: (socket: Socket) => void,
): Promise<RawExchange> {
  const { hostname, port } = new URL(origin)
  return new Promise((resolve) => {
    const startedMs = performance.now()
    const socket = connect({ port: Number(port), host: hostname, allowHalfOpen: keepsItsEnd })
    let text = ''
    const settle = (closed: boolean) => {
      clearTimeout(timer)
      socket.destroy()
      resolve({ text, closed, afterMs: performance.now() - startedMs })
    }
    const timer = setTimeout(() => settle(false), waitMs)
    socket.setEncoding('latin1').on('data', (chunk: string) => {
      text += chunk
    })
    // Writing to what was just closed is an error too, and means the same.
    socket.on('error', () => settle(true))
    if (!keepsItsEnd) socket.on('end', () => settle(true))
    socket.on('close', () => settle(true))
    socket.on('connect', () => speak(socket))
  })
}
