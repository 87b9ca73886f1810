import { request } from 'node:http'
import type { LlamaServer } from '../src/engines/llama-server.ts'
import type { StepSample } from '../src/simulator/calibrate.ts'

/** One request as an engine answered it; times since the start of the process. */
export interface LiveAnswer {
  readonly sentMs: number
  /** When each token came. */
  readonly tokensMs: readonly number[]
}

/** Asks for so many tokens after a prompt of so many, none of which the engine has read before. */
export function ask(server: LlamaServer, promptTokens: number, outputTokens: number): Promise<LiveAnswer> {
  const body = JSON.stringify({
    // Above the special tokens, below the smallest vocabulary that is used here.
    prompt: Array.from({ length: promptTokens }, () => 300 + Math.floor(Math.random() * 600)),
    ...{ n_predict: outputTokens, ignore_eos: true, stream: true, cache_prompt: false },
  })
  return new Promise((resolve, reject) => {
    const sentMs = performance.now()
    const tokensMs: number[] = []
    const { socketPath, apiKey } = server.address
    const headers = { 'content-type': 'application/json', authorization: `Bearer ${apiKey}` }
    const outgoing = request(
      { socketPath, path: '/completion', method: 'POST', headers, agent: false },
      (incoming) => {
        let rest = ''
        incoming.setEncoding('utf8')
        incoming.on('data', (text: string) => {
          const events = `${rest}${text}`.split('\n\n')
          rest = events.pop() ?? ''
          for (const event of events) if (event.includes('"stop":false')) tokensMs.push(performance.now())
        })
        incoming.on('error', reject)
        incoming.on('end', () => {
          if (incoming.statusCode === 200 && tokensMs.length > 0) resolve({ sentMs, tokensMs })
          else reject(new Error(`answer ${incoming.statusCode} with ${tokensMs.length} tokens: ${rest}`))
        })
      },
    )
    outgoing.on('error', reject)
    outgoing.end(body)
  })
}

export const PROMPTS = [16, 64, 128, 256, 448] as const
/** Tokens whose pauses are looked at while nothing comes or ends. */
const STEADY_TOKENS = 40

/** Steps as they look from outside: prompts alone, so many sequences at once, and a prompt among them. */
export async function probe(server: LlamaServer, slots: number): Promise<StepSample[]> {
  const samples: StepSample[] = []
  for (const promptTokens of PROMPTS) {
    const { sentMs, tokensMs } = await ask(server, promptTokens, 1)
    samples.push({ sequences: 0, prompts: 1, promptTokens, ms: (tokensMs[0] ?? sentMs) - sentMs })
  }
  for (let sequences = 1; sequences <= slots; sequences += 1) {
    const answers = await Promise.all(
      Array.from({ length: sequences }, () => ask(server, 16, STEADY_TOKENS + sequences)),
    )
    const [fromMs, toMs] = steady(answers)
    const pauses = answers.flatMap(({ tokensMs }) => pausesWithin(tokensMs, fromMs, toMs))
    if (pauses.length > 0) samples.push({ sequences, prompts: 0, promptTokens: 0, ms: mean(pauses) })
  }
  return samples
}

/** While all of them write. */
function steady(answers: readonly LiveAnswer[]): readonly [number, number] {
  const firsts = answers.map(({ tokensMs }) => tokensMs[0] ?? 0)
  const lasts = answers.map(({ tokensMs }) => tokensMs.at(-1) ?? 0)
  return [Math.max(...firsts), Math.min(...lasts)]
}

function pausesWithin(tokensMs: readonly number[], fromMs: number, toMs: number): number[] {
  const within = tokensMs.filter((ms) => ms >= fromMs && ms <= toMs)
  return within.slice(1).map((ms, place) => ms - (within[place] ?? ms))
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}
