import { type IncomingMessage, type OutgoingHttpHeaders, request as send } from 'node:http'

export interface CutRead {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  /** Whole events that came, without what the cut left of another one. */
  readonly events: readonly SseEvent[]
}

export interface SseEvent {
  readonly id: string | undefined
  readonly name: string | undefined
  readonly data: string
}

export interface CutReadRequest {
  readonly method?: 'GET' | 'POST'
  readonly headers: OutgoingHttpHeaders
  readonly body?: string
  /** The connection is destroyed once so many bytes of the answer have come; undefined: read to its end. */
  readonly cutAfterBytes?: number | undefined
}

/** Reads an answer of server-sent events up to a byte, and destroys the connection there. */
export function readCut(url: string, { method = 'GET', headers, body, cutAfterBytes }: CutReadRequest) {
  return new Promise<CutRead>((resolve, reject) => {
    const request = send(url, { method, headers, agent: false })
    request.on('error', reject)
    request.on('response', (response) => {
      request.off('error', reject).on('error', () => {})
      const bytes: Buffer[] = []
      let length = 0
      response.on('data', (chunk: Buffer) => {
        bytes.push(chunk)
        length += chunk.length
        if (cutAfterBytes !== undefined && length >= cutAfterBytes) response.destroy()
      })
      response.on('error', () => {})
      response.on('close', () => {
        const all = Buffer.concat(bytes).subarray(0, cutAfterBytes)
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          events: eventsIn(all.toString('utf8')),
        })
      })
    })
    request.end(body)
  })
}

function eventsIn(text: string): readonly SseEvent[] {
  const whole = text.slice(0, text.lastIndexOf('\n\n') + 2)
  return whole
    .split('\n\n')
    .filter((event) => /^data: /m.test(event))
    .map((event) => ({
      id: /^id: (.*)$/m.exec(event)?.[1],
      name: /^event: (.*)$/m.exec(event)?.[1],
      data: /^data: (.*)$/m.exec(event)?.[1] ?? '',
    }))
}
