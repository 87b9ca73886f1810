import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { readTrace } from './read-trace.ts'

const traces = join(import.meta.dirname, '../../../test/traces')
const folder = mkdtempSync(join(tmpdir(), 'helixflow-traces-'))
const whole = { requests: undefined, seed: 1 }
afterAll(() => rmSync(folder, { recursive: true }))

function file(name: string, ...lines: readonly string[]): string {
  const path = join(folder, name)
  writeFileSync(path, `${lines.join('\n')}\n`)
  return path
}

describe('what a file holds says what it is', () => {
  test('Azure: times are since the first row, lengths as they stand', async () => {
    const trace = await readTrace(join(traces, 'azure-code.csv'), whole)
    expect([trace.format, trace.requests.length, trace.synthetic]).toEqual(['azure', 3_000, []])
    expect(new Date(trace.startedMs ?? 0).toISOString()).toBe('2023-11-16T18:17:03.979Z')
    expect(trace.requests[0]).toMatchObject({ arrivalMs: 0, promptTokens: 4_808, outputTokens: 10 })
    expect(trace.requests[1]?.arrivalMs).toBeCloseTo(52, 3)
    const last = trace.requests.at(-1)
    expect(last).toMatchObject({ promptTokens: 3_540, outputTokens: 28, model: undefined })
  })

  test('Mooncake: blocks of prefixes come along', async () => {
    const trace = await readTrace(join(traces, 'mooncake-first.jsonl'), { requests: 5, seed: 1 })
    expect([trace.format, trace.requests.length]).toEqual(['mooncake', 5])
    expect(trace.requests[3]).toMatchObject({ promptTokens: 2_290, blocks: [0, 42, 43, 44, 45] })
  })

  test('our own, as CSV and as JSON lines, are the same', async () => {
    const header = 'arrival_s,prompt_tokens,output_tokens,model,tenant'
    const csv = await readTrace(file('own.csv', header, '0,10,5,a,x', '1.5,20,6,,y'), whole)
    const rows = [
      { arrival_s: 0, prompt_tokens: 10, output_tokens: 5, model: 'a', tenant: 'x' },
      { arrival_s: 1.5, prompt_tokens: 20, output_tokens: 6, tenant: 'y' },
    ]
    const json = await readTrace(file('own.jsonl', ...rows.map((row) => JSON.stringify(row))), whole)
    expect(csv).toEqual(json)
    expect(csv.requests[1]).toMatchObject({ arrivalMs: 1_500, model: undefined, tenant: 'y' })
  })

  test('ServeGen: a folder of rates is drawn from a seed, about as many as wanted, and says so', async () => {
    const rows = (rate: number, shape: number) =>
      Array.from({ length: 200 }, (_, window) => `${600 * window},${rate},1,Gamma,${shape},1`)
    const rates = mkdtempSync(join(folder, 'rates-'))
    writeFileSync(join(rates, 'chunk-0-trace.csv'), rows(3, 1).join('\n'))
    writeFileSync(join(rates, 'chunk-1-trace.csv'), `${rows(1, 0.3).join('\n')}\n120000,0,0,,0,0`)
    const trace = await readTrace(rates, { requests: 8_000, seed: 2 })
    const share = trace.requests.filter(({ model }) => model === 'chunk-0').length / trace.requests.length
    expect(Math.abs(trace.requests.length / 8_000 - 1)).toBeLessThan(0.08)
    expect(Math.abs(share - 0.75)).toBeLessThan(0.03)
    expect(trace.synthetic.length).toBeGreaterThan(0)
    expect(await readTrace(rates, { requests: 8_000, seed: 2 })).toEqual(trace)
    expect(await readTrace(rates, { requests: 8_000, seed: 3 })).not.toEqual(trace)
  })

  test('synthetic: the mean rate and the burstiness are those asked for', async () => {
    const trace = await readTrace('synthetic:rate=20,cv=3,minutes=40,spread=0,prompt=77', whole)
    const pauses = trace.requests
      .slice(1)
      .map(({ arrivalMs }, place) => arrivalMs - (trace.requests[place]?.arrivalMs ?? 0))
    const mean = pauses.reduce((sum, pause) => sum + pause, 0) / pauses.length
    const variance = pauses.reduce((sum, pause) => sum + (pause - mean) ** 2, 0) / pauses.length
    expect(Math.abs(mean / 50 - 1)).toBeLessThan(0.05)
    expect(Math.abs(Math.sqrt(variance) / mean / 3 - 1)).toBeLessThan(0.1)
    expect(new Set(trace.requests.map(({ promptTokens }) => promptTokens))).toEqual(new Set([77]))
  })
})

describe('a bad line is named', () => {
  const header = 'TIMESTAMP,ContextTokens,GeneratedTokens'
  const own = 'arrival_s,prompt_tokens,output_tokens'
  test.each([
    ['a time', [header, '2023-11-16 18:17:03.97,1,2', 'yesterday,1,2'], /line 3: not a time/],
    ['a number', [header, '2023-11-16 18:17:03.97,1,x'], /line 2: wanted/],
    ['an order', [own, '5,1,1', '4,1,1'], /line 3: earlier/],
    ['a missing cell', [own, '', '5,1'], /line 3: output_tokens/],
    ['a cell too many', [own, '5,1,1,a'], /line 2/],
    [
      'broken JSON',
      ['{"timestamp":0,"input_length":1,"output_length":1,"hash_ids":[]}', '{"timestamp":1'],
      /line 2/,
    ],
    ['a negative block', ['{"timestamp":0,"input_length":1,"output_length":1,"hash_ids":[-1]}'], /line 1/],
    ['a rate', ['0,1,1,Gamma,1,1', '600,-1,1,Gamma,1,1'], /line 2/],
    ['no trace at all', ['hello'], /line 1: the first line is of no trace/],
    ['an empty file', [''], /is empty/],
  ])('%s', async (name, lines, message) => {
    await expect(readTrace(file(name, ...lines), whole)).rejects.toMatchObject({
      code: 'invalid_value',
      publicMessage: expect.stringMatching(message),
    })
  })

  test('a file that is not there, and a setting that nobody knows', async () => {
    await expect(readTrace(join(folder, 'none'), whole)).rejects.toMatchObject({ code: 'not_found' })
    await expect(readTrace('synthetic:rat=5', whole)).rejects.toMatchObject({ code: 'invalid_arguments' })
    await expect(readTrace('synthetic:rate=0', whole)).rejects.toMatchObject({ code: 'invalid_arguments' })
  })
})
