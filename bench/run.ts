import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { cache } from './cache.ts'
import { calibration } from './calibration.ts'
import { engine } from './engine.ts'
import { forecast } from './forecast.ts'
import { gateway } from './gateway.ts'
import { hits } from './hits.ts'
import { keys } from './keys.ts'
import { limits } from './limits.ts'
import { monitoring } from './monitoring.ts'
import { pool } from './pool.ts'
import { stopAll } from './process.ts'
import { type Benchmark, goalLine, machineFacts, sourceFacts } from './report.ts'
import { routing } from './routing.ts'
import { scheduling } from './scheduling.ts'
import { sockets } from './sockets.ts'
import { tokens } from './tokens.ts'
import { usage } from './usage.ts'

/** Every benchmark, by the name it is run by. */
const BENCHMARKS = {
  gateway,
  monitoring,
  tokens,
  keys,
  pool,
  usage,
  limits,
  cache,
  hits,
  routing,
  sockets,
  engine,
  calibration,
  scheduling,
  forecast,
} as const satisfies Record<string, Benchmark>

const HELP = `Usage: npm run bench -- NAME [--quick] [--json] [--publish]

${Object.entries(BENCHMARKS)
  .map(([name, { summary }]) => `  ${name.padEnd(11)} ${summary}`)
  .join('\n')}

  --quick             shorter rounds
  --json              the whole result on standard output
  --publish           write bench/results/NAME.json, which documents quote, instead of NAME.local.json
  --traces DIRECTORY  recorded traces for cache, routing and scheduling; see bench/README.md
`

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      help: { type: 'boolean', short: 'h' },
      quick: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      publish: { type: 'boolean', default: false },
      traces: { type: 'string' },
    },
  })
  const [name = ''] = positionals
  const benchmark = (BENCHMARKS as Readonly<Record<string, Benchmark>>)[name]
  const contradictory = (values.quick && values.publish) || (values.traces && !benchmark?.takesTraces)
  if (values.help || positionals.length !== 1 || !benchmark || contradictory) {
    process.stdout.write(HELP)
    return values.help ? 0 : 1
  }
  const date = new Date().toISOString()
  const facts = { bench: name, date, source: sourceFacts(), machine: machineFacts() }
  const say = (text: string) => process.stderr.write(`${text}\n`)
  const { table, ...result } = await benchmark.run({ quick: values.quick, traces: values.traces, say })
  const text = `${JSON.stringify({ ...facts, ...result }, undefined, 1)}\n`
  const path = join(import.meta.dirname, 'results', `${name}${values.publish ? '' : '.local'}.json`)
  mkdirSync(join(path, '..'), { recursive: true })
  writeFileSync(path, text)
  say(`written to ${path}`)
  process.stdout.write(values.json ? text : `${[...table, '', ...result.goals.map(goalLine)].join('\n')}\n`)
  return 0
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => void stopAll().finally(() => process.exit(1)))
}
try {
  process.exitCode = await main()
} finally {
  await stopAll()
}
