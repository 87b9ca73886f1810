import { once } from 'node:events'
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http'
import type { AddressInfo } from 'node:net'

export type Answer = (request: IncomingMessage, response: ServerResponse) => void

export interface SeenRequest {
  readonly method: string | undefined
  readonly path: string
  readonly headers: IncomingHttpHeaders
}

/** An HTTP server of a test, which answers as told and remembers what it was asked. */
export class FileServer {
  readonly seen: SeenRequest[] = []

  private constructor(
    private readonly server: Server,
    readonly port: number,
    /** Answers each request; may be changed between two. */
    public answer: Answer,
  ) {}

  static async start(answer: Answer): Promise<FileServer> {
    const server = createServer()
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const files = new FileServer(server, (server.address() as AddressInfo).port, answer)
    server.on('request', (request, response) => {
      files.seen.push({ method: request.method, path: request.url ?? '', headers: request.headers })
      files.answer(request, response)
    })
    return files
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`
  }

  /** May be called again. */
  async stop(): Promise<void> {
    this.server.closeAllConnections()
    await new Promise((resolve) => this.server.close(resolve))
  }
}

export interface ServedFile {
  readonly etag?: string
  /** Ends the connection, without an error of its own, after so many bytes of the answer. */
  readonly cutAfterBytes?: number
}

/** Answers as a good file server does: whole, or from where a valid range begins. */
export function serving(content: Buffer, { etag, cutAfterBytes }: ServedFile = {}): Answer {
  return (request, response) => {
    const start = rangeStart(request, etag)
    const headers = { ...(etag === undefined ? {} : { etag }), 'accept-ranges': 'bytes' }
    if (start >= content.length && start > 0) {
      response.writeHead(416, { ...headers, 'content-range': `bytes */${content.length}` }).end()
      return
    }
    const part = content.subarray(start)
    const range = { 'content-range': `bytes ${start}-${content.length - 1}/${content.length}` }
    response.writeHead(start > 0 ? 206 : 200, {
      ...headers,
      ...(start > 0 ? range : {}),
      'content-length': part.length,
    })
    if (cutAfterBytes === undefined || request.method === 'HEAD') response.end(part)
    else response.write(part.subarray(0, cutAfterBytes), () => response.socket?.end())
  }
}

/** The first answers in turn, the last one for all further requests. */
export function inTurn(...answers: [Answer, ...Answer[]]): Answer {
  let next = 0
  return (request, response) => {
    const answer = answers[Math.min(next, answers.length - 1)] ?? answers[0]
    next += 1
    answer(request, response)
  }
}

export function status(code: number, headers: Readonly<Record<string, string>> = {}): Answer {
  return (_request, response) => response.writeHead(code, headers).end()
}

function rangeStart(request: IncomingMessage, etag: string | undefined): number {
  const condition = request.headers['if-range']
  if (condition !== undefined && condition !== etag) return 0
  return Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0)
}
