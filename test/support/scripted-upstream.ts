import { once } from 'node:events'
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http'
import type { AddressInfo, Socket } from 'node:net'

/** One request that reached the upstream, and the means to answer it as well or as badly as a test wants. */
export interface UpstreamCall {
  readonly path: string | undefined
  readonly headers: IncomingHttpHeaders
  /** As they came, names and values in turn. */
  readonly rawHeaders: readonly string[]
  readonly body: string
  readonly response: ServerResponse
  /** For answers that no HTTP library would write. */
  readonly socket: Socket
  /** Resolves with the time, in ms of `performance.now`, at which the connection was closed. */
  readonly closed: Promise<number>
}

export type Script = (call: UpstreamCall) => void

/** An OpenAI-compatible server of a test: what it answers is a script, and it remembers every call. */
export class ScriptedUpstream {
  calls: UpstreamCall[] = []
  private readonly waiting = new Set<() => void>()
  /** Of each connection, however many calls it brings. */
  private readonly ends = new WeakMap<Socket, Promise<number>>()

  private constructor(
    private readonly server: Server,
    readonly url: string,
    /** Answers each call; may be changed between two. */
    public script: Script,
  ) {}

  static async start(script: Script): Promise<ScriptedUpstream> {
    const server = createServer({ keepAliveTimeout: 60_000 })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const upstream = new ScriptedUpstream(server, `http://127.0.0.1:${port}/v1`, script)
    server.on('request', (request, response) => void upstream.receive(request, response))
    return upstream
  }

  /** From here on this script answers, and no call has been made yet. */
  play(script: Script): void {
    this.calls = []
    this.script = script
  }

  /** The call of that number, counted from 1, once it has come. */
  async call(number: number): Promise<UpstreamCall> {
    for (;;) {
      const call = this.calls[number - 1]
      if (call) return call
      await new Promise<void>((resolve) => this.waiting.add(resolve))
    }
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections()
    await new Promise((resolve) => this.server.close(resolve))
  }

  private async receive(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { socket } = request
    const closed = this.ends.get(socket) ?? endOf(socket)
    this.ends.set(socket, closed)
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part as Buffer)
    const { url: path, headers, rawHeaders } = request
    const body = Buffer.concat(parts).toString('utf8')
    const call = { path, headers, rawHeaders, body, response, socket, closed }
    this.calls.push(call)
    for (const resolve of this.waiting) resolve()
    this.waiting.clear()
    this.script(call)
  }
}

function endOf(socket: Socket): Promise<number> {
  return new Promise((resolve) => socket.once('close', () => resolve(performance.now())))
}

/** A chunk of a chat stream with this text, as an event. */
export function chatEvent(content: string, finish: string | null = null): string {
  const choices = [{ index: 0, delta: { content }, finish_reason: finish }]
  return `data: ${JSON.stringify({ ...HEAD, object: 'chat.completion.chunk', choices })}\n\n`
}

/** A whole chat answer with this text. */
export function chatAnswer(content: string): string {
  const choices = [{ index: 0, message: { role: 'assistant', content }, finish_reason: 'stop' }]
  const usage = { prompt_tokens: 3, completion_tokens: 5, total_tokens: 8 }
  return JSON.stringify({ ...HEAD, object: 'chat.completion', choices, usage })
}

const HEAD = { id: 'chatcmpl-1', created: 1_700_000_000, model: 'far' }

/** The events of a whole stream: so many chunks, usage, and the end. */
export function wholeStream(chunks: number): string[] {
  const texts = Array.from({ length: chunks }, (_, at) => chatEvent(`t${at} `))
  const usage = { prompt_tokens: 3, completion_tokens: chunks, total_tokens: chunks + 3 }
  const last = `data: ${JSON.stringify({ ...HEAD, object: 'chat.completion.chunk', choices: [], usage })}\n\n`
  return [...texts, last, 'data: [DONE]\n\n']
}

/** Sends a whole stream, as an engine does. */
export async function sendStream(call: UpstreamCall, events: readonly string[]): Promise<void> {
  await sendEvents(call, events)
  call.response.end()
}

/** Starts a stream, sends these events, each in a packet of its own, and leaves it open. */
export async function sendEvents({ response }: UpstreamCall, events: readonly string[]): Promise<void> {
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  response.flushHeaders()
  for (const event of events) {
    response.write(event)
    await new Promise((resolve) => setImmediate(resolve))
  }
}

export function sendWhole({ response }: UpstreamCall, body: string): void {
  response.writeHead(200, { 'content-type': 'application/json' }).end(body)
}

/**
 * Writes the text again and again, as fast as the other side takes it, until it leaves or so many bytes have gone
 * out. Resolves with the bytes that were handed over.
 */
export function flood(call: UpstreamCall, text: string, bytesMax: number): Promise<number> {
  const { response, socket } = call
  const piece = Buffer.from(text)
  let sentBytes = 0
  return new Promise((resolve) => {
    const settle = () => resolve(sentBytes)
    const write = () => {
      while (sentBytes < bytesMax) {
        if (socket.destroyed) return
        sentBytes += piece.length
        if (!response.write(piece)) return void response.once('drain', write)
      }
      response.end(settle)
    }
    socket.once('close', settle)
    write()
  })
}
