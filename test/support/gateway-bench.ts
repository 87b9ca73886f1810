import { expect } from 'vitest'
import { ERROR_CODES } from '../../src/core/errors.ts'
import { freePort } from './free-port.ts'
import { eventsOf, post, type RawAnswer, type RawPost } from './raw-client.ts'
import { chatAnswer, ScriptedUpstream, sendWhole } from './scripted-upstream.ts'
import { type Server, startServer } from './server.ts'

/** The failure in an answer, as the error contract has it. */
export interface Failure {
  readonly status: number
  readonly code: string
}

export const UPSTREAM_KEY = 'sk-canary-of-the-upstream'

/** A gateway without an engine of its own, before one upstream that a script plays: the model `far`. */
export class GatewayBench {
  private constructor(
    readonly server: Server,
    readonly upstream: ScriptedUpstream,
  ) {}

  /** @param gateway settings of the gateway; a whole request gets 6 s, silence 1 s, unless they say otherwise */
  static async start(
    gateway: object = {},
    environment: Record<string, string> = {},
    sections: Readonly<Record<string, object>> = {},
  ): Promise<GatewayBench> {
    const upstream = await ScriptedUpstream.start((call) => sendWhole(call, chatAnswer('hi')))
    const deadlines = { firstByteTimeout: '1s', stallTimeout: '1s', requestDeadline: '6s' }
    const far = { name: 'far', url: upstream.url, apiKey: UPSTREAM_KEY, models: ['far'], slots: 32 }
    const gone = { name: 'gone', url: `http://127.0.0.1:${await freePort()}/v1`, models: ['gone'] }
    const config = { ...sections, gateway: { ...deadlines, ...gateway }, upstreams: [far, gone] }
    const server = await startServer({ models: {}, model: null, config, environment })
    return new GatewayBench(server, upstream)
  }

  async stop(): Promise<void> {
    expect(await this.server.stop()).toBe(0)
    await this.upstream.stop()
  }

  /** A chat request to the upstream's model. */
  ask(change: object = {}, options: Omit<RawPost, 'body'> = {}): Promise<RawAnswer> {
    return post(`${this.server.url}/chat/completions`, {
      ...options,
      headers: { authorization: `Bearer ${this.server.apiKey}`, ...options.headers },
      body: JSON.stringify({ model: 'far', messages: [{ role: 'user', content: 'Hello' }], ...change }),
    })
  }

  /** The failure that a whole answer tells; any other form than that of the error contract fails the test. */
  failureOf({ status, headers, text, ended }: RawAnswer): Failure {
    expect(status, text.slice(0, 200)).toBeGreaterThanOrEqual(400)
    expect(ended).toBe('complete')
    expect(headers['content-type']).toMatch(/^application\/json/)
    expect(headers['x-request-id']).toMatch(/^req_[0-9a-f]{24}$/)
    const { error } = JSON.parse(text) as { error: { code: string } }
    const word = expect.any(String)
    expect(error).toEqual({ message: word, type: word, param: null, code: word })
    expect(ERROR_CODES).toContain(error.code)
    this.expectNoSecret(text)
    return { status, code: error.code }
  }

  /** Chunks and failure of a stream that broke: an error event is its last, and it has no clean end. */
  brokenStream({ status, headers, text, ended }: RawAnswer): { chunks: unknown[]; code: string } {
    expect(status, text.slice(0, 200)).toBe(200)
    expect(headers['content-type']).toMatch(/^text\/event-stream/)
    expect(text).not.toContain('[DONE]')
    expect(ended).toBe('cut')
    const events = eventsOf(text)
    const { error } = events.at(-1) as { error?: { code: string } }
    expect(ERROR_CODES).toContain(error?.code)
    this.expectNoSecret(text)
    return { chunks: events.slice(0, -1), code: error?.code ?? '' }
  }

  private expectNoSecret(text: string): void {
    const { url } = this.upstream
    for (const secret of [UPSTREAM_KEY, this.server.apiKey, url, new URL(url).host])
      expect(text).not.toContain(secret)
  }
}
