import { execFile } from 'node:child_process'
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { GatewayBench } from '../../support/gateway-bench.ts'
import { chatAnswer, sendWhole, type UpstreamCall, wholeStream } from '../../support/scripted-upstream.ts'

const root = join(import.meta.dirname, '..', '..', '..')
const built = join(root, 'dist', 'client')
const page = readFileSync(join(root, 'docs', 'client.md'), 'utf8')
const codes = [...page.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, code = '']) => code)

/** A place that has the built client and nothing else of this project. */
let place: string
let bench: GatewayBench

beforeAll(async () => {
  place = mkdtempSync(join(tmpdir(), 'helixflow-client-'))
  const module = join(place, 'node_modules', 'helixflow')
  mkdirSync(module, { recursive: true })
  cpSync(built, join(module, 'dist', 'client'), { recursive: true })
  cpSync(join(root, 'package.json'), join(module, 'package.json'))
  symlinkSync(join(root, 'node_modules', 'ws'), join(place, 'node_modules', 'ws'))
  writeFileSync(join(place, 'package.json'), '{"type":"module"}')
  bench = await GatewayBench.start()
  bench.upstream.play((call) => {
    const { stream } = JSON.parse(call.body) as { stream?: boolean }
    if (stream) void sendSlowly(call, wholeStream(30))
    else sendWhole(call, chatAnswer('hi'))
  })
})
afterAll(async () => {
  rmSync(place, { recursive: true, force: true })
  await bench?.stop()
})

test('the built client asks for nothing but its own files, and for nothing of Node', () => {
  for (const file of readdirSync(built).filter((name) => name.endsWith('.js'))) {
    const code = readFileSync(join(built, file), 'utf8')
    const imports = [...code.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)].map(([, name = '']) => name)
    for (const name of imports) expect(name, file).toMatch(/^\.\/[a-z0-9-]+\.js$/)
    expect(code, file).not.toMatch(/\b(Buffer|process|require|__dirname|global)\b[.(]/)
  }
})

test('the built client talks to a gateway from a place that has what a page has, and nothing else', async () => {
  const { origin, apiKey } = bench.server
  const script = join(root, 'test', 'support', 'page-place.mjs')
  const { out } = await node(
    '--experimental-vm-modules',
    '--no-warnings',
    script,
    built,
    origin,
    apiKey,
    'far',
  )
  expect(out).toContain('t0 t1 ')
})

describe('the examples of docs/client.md', () => {
  const head = (number: number) =>
    `declare const url: string, apiKey: string, model: string\ndeclare function write(text: string): void\n${codes[number]}`

  test('are written in types, with what a browser has and without any package', async () => {
    const browser = codes.flatMap((code, number) => (code.includes("from 'ws'") ? [] : [number]))
    for (const number of browser) writeFileSync(join(place, `example-${number}.ts`), head(number))
    const options = { target: 'es2023', lib: ['es2023', 'dom'], module: 'nodenext', types: [], noEmit: true }
    const strict = { strict: true, exactOptionalPropertyTypes: true, skipLibCheck: false }
    const compilerOptions = { ...options, ...strict }
    const files = browser.map((number) => `example-${number}.ts`)
    writeFileSync(join(place, 'tsconfig.json'), JSON.stringify({ compilerOptions, files }))
    const tsc = join(root, 'node_modules', '.bin', 'tsc')
    const checked = promisify(execFile)(tsc, ['-p', place]).catch((failure) => failure)
    expect((await checked).stdout).toBe('')
  })

  test.each(codes.map((code, number) => [number + 1, code] as const))(
    'number %i runs against a gateway',
    async (number, code) => {
      const { origin, apiKey } = bench.server
      const given = "import { WebSocket as Given } from 'ws'\nglobalThis.WebSocket = Given as never\n"
      const values = `const url = ${JSON.stringify(origin)}, apiKey = ${JSON.stringify(apiKey)}, model = 'far'\n`
      const write = 'const write = (text: string) => console.log(text)\n'
      const module = join(place, `run-${number}.ts`)
      writeFileSync(module, given + values + write + code)
      const tsx = pathToFileURL(join(root, 'node_modules', 'tsx', 'dist', 'loader.mjs')).href
      const { out, err } = await node('--import', tsx, module)
      expect(err).toBe('')
      expect(out.trim()).not.toBe('')
    },
  )
})

/** As a model speaks: one that has answered before the question is asked again shows nothing of going on. */
async function sendSlowly({ response }: UpstreamCall, events: readonly string[]): Promise<void> {
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  for (const event of events) {
    response.write(event)
    await sleep(20)
  }
  response.end()
}

async function node(...parts: string[]): Promise<{ out: string; err: string }> {
  const { stdout, stderr } = await promisify(execFile)(process.execPath, parts, { timeout: 50_000 })
  return { out: stdout, err: stderr }
}
