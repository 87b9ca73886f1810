import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'

/** A span as a collector gets it, in the JSON of OTLP, with its values taken out of their wrappings. */
export interface ReceivedSpan {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId: string | undefined
  readonly traceState: string | undefined
  readonly name: string
  /** 1 internal, 2 server, 3 client. */
  readonly kind: number
  readonly failed: boolean
  readonly attributes: Readonly<Record<string, unknown>>
  readonly resource: Readonly<Record<string, unknown>>
}

/** A collector of traces: takes OTLP/HTTP as JSON, and keeps what it got. */
export class TraceReceiver {
  readonly spans: ReceivedSpan[] = []
  readonly headers: NodeJS.Dict<string | string[]>[] = []
  /** Everything that came, as it came. */
  raw = ''

  private constructor(private readonly server: Server) {}

  static async start(): Promise<TraceReceiver> {
    const server = createServer()
    const receiver = new TraceReceiver(server)
    server.on('request', async (request, response) => {
      const chunks: Buffer[] = []
      for await (const chunk of request) chunks.push(chunk as Buffer)
      receiver.take(Buffer.concat(chunks).toString('utf8'), request.headers)
      response.writeHead(200, { 'content-type': 'application/json' }).end('{}')
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return receiver
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/v1/traces`
  }

  named(name: string): ReceivedSpan | undefined {
    return this.spans.find((span) => span.name === name)
  }

  of(traceId: string): readonly ReceivedSpan[] {
    return this.spans.filter((span) => span.traceId === traceId)
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections()
    await new Promise((resolve) => this.server.close(resolve))
  }

  private take(text: string, headers: NodeJS.Dict<string | string[]>): void {
    this.raw += text
    this.headers.push(headers)
    for (const { resource, scopeSpans } of (JSON.parse(text) as Export).resourceSpans) {
      for (const span of scopeSpans.flatMap(({ spans }) => spans)) {
        this.spans.push({
          ...{ traceId: span.traceId, spanId: span.spanId, name: span.name, kind: span.kind },
          parentSpanId: span.parentSpanId || undefined,
          traceState: span.traceState || undefined,
          failed: span.status?.code === 2,
          attributes: valuesOf(span.attributes),
          resource: valuesOf(resource.attributes),
        })
      }
    }
  }
}

interface Attribute {
  readonly key: string
  readonly value: Readonly<Record<string, unknown>>
}

interface Export {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: readonly Attribute[] }
    readonly scopeSpans: readonly {
      readonly spans: readonly {
        readonly traceId: string
        readonly spanId: string
        readonly parentSpanId?: string
        readonly traceState?: string
        readonly name: string
        readonly kind: number
        readonly status?: { readonly code?: number }
        readonly attributes: readonly Attribute[]
      }[]
    }[]
  }[]
}

function valuesOf(attributes: readonly Attribute[]): Record<string, unknown> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, plain(value)]))
}

function plain(value: Readonly<Record<string, unknown>>): unknown {
  const list = value['arrayValue'] as { readonly values: readonly Record<string, unknown>[] } | undefined
  if (list) return list.values.map(plain)
  const [kind, found] = Object.entries(value)[0] ?? []
  return kind === 'intValue' ? Number(found) : found
}
