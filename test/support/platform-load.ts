import { randomUUID } from 'node:crypto'
import { helixflow } from './helixflow.ts'
import { commandLineOf, processesWith } from './processes.ts'
import type { Server } from './server.ts'
import { SocketClient } from './socket-client.ts'

/**
 * Something of everything that a platform with the models `tiny` and `other` can be asked, and of what can go wrong there,
 * over and over until it is stopped: so that whatever is counted grows.
 */
export class PlatformLoad {
  private running = true
  private readonly finished: Promise<void>

  private constructor(
    private readonly server: Server,
    private readonly limitedKey: string,
    private readonly poorKey: string,
  ) {
    this.finished = this.run()
    this.finished.catch(() => {})
  }

  static async start(server: Server): Promise<PlatformLoad> {
    const limited = await createKey(server, 'limited')
    // Some wait, and more than those are refused.
    const rate = ['requests', '2', '--window', '1s', '--shape-max-wait', '600ms', '--key-id', limited.id]
    await helixflow(server, 'limits', 'set', ...rate)
    await helixflow(server, 'limits', 'set', 'money', '100', '--period', 'month', '--key-id', limited.id)
    // Used up but for what one request might cost at most.
    const poor = await createKey(server, 'poor')
    await helixflow(server, 'limits', 'set', 'money', '0.005', '--period', 'month', '--key-id', poor.id)
    const load = new PlatformLoad(server, limited.plaintext, poor.plaintext)
    for (let spent = 0, status = 200; status === 200 && spent < 100; spent++)
      status = await load.chat({ max_tokens: 64 }, poor.plaintext)
    return load
  }

  /** @throws what went wrong in it */
  async stop(): Promise<void> {
    this.running = false
    await this.finished
  }

  private async run(): Promise<void> {
    for (let round = 0; this.running; round++) {
      await Promise.all([
        this.chat({ stream: true, temperature: 1 }),
        this.chat({ messages: question('the same each time'), temperature: 0 }),
        this.chat({ model: 'far', messages: question(randomUUID()) }),
        this.chat({ model: 'of nobody' }),
        this.post('/embeddings', { model: 'tiny', input: randomUUID() }),
        this.post('/chat/completions', {}, 'hf_live_wrong'),
        ...Array.from({ length: 6 }, () => this.chat({}, this.limitedKey)),
        this.chat({ max_tokens: 64 }, this.poorKey),
        this.socket(),
      ])
      // So seldom that it goes in between, where its keepAlive is a second.
      if (round % 3 === 0) await this.chat({ model: 'other' })
      if (round === 4) for (const pid of enginesOf(this.server)) process.kill(pid, 'SIGKILL')
    }
  }

  private chat(more: object, key?: string): Promise<number> {
    const messages = question(randomUUID())
    return this.post('/chat/completions', { model: 'tiny', messages, max_tokens: 4, ...more }, key)
  }

  /** Whatever is answered is what it is to be. @returns the status of the answer */
  private async post(path: string, body: object, key = this.server.apiKey): Promise<number> {
    const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' }
    const answer = await fetch(this.server.url + path, {
      method: 'POST',
      headers,
      body: JSON.stringify(body),
    })
    await answer.text()
    return answer.status
  }

  /** A stream that is read, and then read once more from its beginning. */
  private async socket(): Promise<void> {
    const client = await SocketClient.open(this.server.origin, { apiKey: this.server.apiKey })
    await client.hello()
    const { stream, epoch } = await client.chat({ model: 'tiny', max_tokens: 4 })
    await client.wholeStream(stream)
    await client.ask({ type: 'resume', stream, epoch, seq: 0 })
    await client.close()
  }
}

async function createKey(server: Server, name: string): Promise<{ id: string; plaintext: string }> {
  return JSON.parse((await helixflow(server, 'keys', 'create', name, '--json')).out)
}

function question(content: string): object {
  return [{ role: 'user', content }]
}

function enginesOf({ home }: Server): number[] {
  return processesWith(home).filter((pid) => /^\S*llama-server /.test(commandLineOf(pid)))
}
