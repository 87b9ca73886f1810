import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

/**
 * An OpenAI-compatible engine in a process of its own whose answer everybody can check: to `label` it says `label:0 `,
 * `label:1 ` and so on, one piece every so often. It goes on with an answer that was begun.
 */
export interface NumberedEngine {
  /** Ends in /v1. */
  readonly url: string
  /** Answers that it was asked for so far. */
  asked(): Promise<number>
  stop(): void
}

export interface Pace {
  readonly pieces: number
  readonly everyMs: number
}

export async function startNumberedEngine(pace: Pace): Promise<NumberedEngine> {
  const root = join(import.meta.dirname, '..', '..')
  const child: ChildProcess = spawn(
    process.execPath,
    ['--import', 'tsx', import.meta.filename, JSON.stringify(pace)],
    { stdio: ['ignore', 'pipe', 'inherit'], cwd: root },
  )
  for await (const line of createInterface({ input: child.stdout ?? process.stdin })) {
    const url = `http://127.0.0.1:${Number(line)}`
    return {
      url: `${url}/v1`,
      asked: async () => Number(await (await fetch(url)).text()),
      stop: () => void child.kill('SIGKILL'),
    }
  }
  throw new Error('the engine ended')
}

export function textOf(label: string, pieces: number): string {
  return Array.from({ length: pieces }, (_, number) => pieceOf(label, number)).join('')
}

export function hashOf(label: string, pieces: number): string {
  return createHash('sha256').update(textOf(label, pieces)).digest('hex')
}

function pieceOf(label: string, number: number): string {
  return `${label}:${number} `
}

interface Asked {
  readonly messages: readonly { readonly role: string; readonly content: string }[]
}

class Engine {
  asked = 0

  constructor(private readonly pace: Pace) {}

  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.method === 'GET') {
      response.end(String(this.asked))
      return
    }
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part as Buffer)
    this.asked++
    const { messages } = JSON.parse(Buffer.concat(parts).toString('utf8')) as Asked
    const label = messages.findLast(({ role }) => role === 'user')?.content ?? ''
    const last = messages.at(-1)
    const begun = last?.role === 'assistant' ? last.content : ''
    this.say(response, label, begun)
  }

  /** What comes after `begun`, which may end within a piece. */
  private say(response: ServerResponse, label: string, begun: string): void {
    const { pieces, everyMs } = this.pace
    let number = 0
    let said = 0
    while (said + pieceOf(label, number).length <= begun.length) said += pieceOf(label, number++).length
    const whole = number
    response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' })
    response.write(chunk({ role: 'assistant', content: '' }))
    const timer = setInterval(() => {
      if (number < pieces) {
        const piece = pieceOf(label, number++)
        response.write(chunk({ content: piece.slice(Math.max(0, begun.length - said)) }))
        said += piece.length
        return
      }
      clearInterval(timer)
      const made = pieces - whole
      const usage = { prompt_tokens: 3 + whole, completion_tokens: made, total_tokens: pieces + 3 }
      response.end(`${chunk({}, 'stop')}${event({ choices: [], usage })}data: [DONE]\n\n`)
    }, everyMs)
    response.on('close', () => clearInterval(timer))
  }
}

function chunk(delta: object, finish_reason: string | null = null): string {
  return event({ choices: [{ index: 0, delta, finish_reason }] })
}

function event(fields: object): string {
  const head = {
    id: 'chatcmpl-numbered',
    object: 'chat.completion.chunk',
    created: 1_700_000_000,
    model: 'far',
  }
  return `data: ${JSON.stringify({ ...head, ...fields })}\n\n`
}

const [, started, pace] = process.argv
if (started === import.meta.filename) {
  const engine = new Engine(JSON.parse(pace ?? '{}') as Pace)
  const server = createServer((request, response) => void engine.answer(request, response))
  server.listen(0, '127.0.0.1', () => {
    process.stdout.write(`${(server.address() as AddressInfo).port}\n`)
  })
}
