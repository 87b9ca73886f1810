import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize, relative, sep } from 'node:path'
import { describe, expect, test } from 'vitest'

const src = join(import.meta.dirname, '..', '..', 'src')

/** Who may import whom, by folder; every file may import its own folder. ARCHITECTURE.md says why. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  core: [],
  'system.ts': ['core'],
  'guardian.ts': ['core'],
  config: ['core'],
  contracts: ['core'],
  scheduler: ['core'],
  storage: ['core', 'config', 'contracts', 'guardian.ts'],
  redis: ['core', 'config'],
  metrics: ['core'],
  limits: ['core', 'contracts', 'redis'],
  cache: ['core', 'contracts', 'redis'],
  streams: ['core', 'contracts', 'redis'],
  // Also for browsers: no package, and of the contracts the types alone.
  client: ['contracts'],
  engines: ['core', 'config', 'contracts', 'guardian.ts'],
  auth: ['core', 'config', 'contracts', 'storage'],
  pool: ['core', 'config', 'contracts', 'scheduler', 'storage'],
  node: ['core', 'config', 'contracts', 'engines', 'guardian.ts'],
  gateway: ['core', 'config', 'contracts', 'scheduler', 'limits', 'cache', 'streams'],
  // Knows of the others what their metrics say.
  monitor: ['core', 'config', 'contracts', 'storage'],
  tracing: ['core', 'config'],
  // Plays what the others decide; only the command line and benchmarks may know of it.
  simulator: ['core', 'config', 'contracts', 'scheduler', 'pool', 'gateway'],
}

/** Folders whose code is a function of its arguments: no clock, chance, process, timer, or package. */
const PURE = ['core/', 'scheduler/', 'monitor/query/', 'monitor/alerts/']
const IMPURE = /\b(Date\.|new Date|Math\.random|process\.|setTimeout|setInterval|setImmediate|performance\.)/

const files = readdirSync(src, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts'))
  // Made by a program, for programs.
  .filter((name) => !name.split(sep).join('/').startsWith('contracts/gen/'))
  .map((name) => ({ name: name.split(sep).join('/'), text: readFileSync(join(src, name), 'utf8') }))

function importsOf({ name, text }: (typeof files)[number]): string[] {
  const specifiers = [...text.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)].map((match) => match[1] ?? '')
  return specifiers.map((one) =>
    one.startsWith('.')
      ? normalize(join(dirname(name), one))
          .split(sep)
          .join('/')
      : one,
  )
}

function folderOf(name: string): string {
  return name.split('/')[0] ?? ''
}

function isOurs(specifier: string): boolean {
  return specifier.endsWith('.ts')
}

describe('the walls', () => {
  test('every folder imports only what it may', () => {
    const trespasses = files.flatMap((file) => {
      const allowed = MAY_IMPORT[folderOf(file.name)]
      if (!allowed) return []
      return importsOf(file)
        .filter(
          (target) =>
            isOurs(target) && folderOf(target) !== folderOf(file.name) && !allowed.includes(folderOf(target)),
        )
        .map((target) => `${file.name} imports ${target}`)
    })
    expect(trespasses).toEqual([])
  })

  test('only the command line stands above them', () => {
    const free = new Set(files.map(({ name }) => folderOf(name)).filter((folder) => !(folder in MAY_IMPORT)))
    expect([...free].sort()).toEqual(['cli', 'main.ts'])
  })

  test('there is no import cycle, types included', () => {
    const graph = new Map(files.map((file) => [file.name, importsOf(file).filter(isOurs)]))
    const finished = new Set<string>()
    const cycles: string[] = []
    const visit = (name: string, path: readonly string[]) => {
      if (path.includes(name)) cycles.push([...path.slice(path.indexOf(name)), name].join(' -> '))
      if (finished.has(name) || path.includes(name)) return
      for (const target of graph.get(name) ?? []) visit(target, [...path, name])
      finished.add(name)
    }
    for (const name of graph.keys()) visit(name, [])
    expect(cycles).toEqual([])
  })

  test('every import leads to a file', () => {
    const made = ['auth', 'monitor', 'node', 'pool'].map((name) => `contracts/gen/helixflow/v1/${name}_pb.ts`)
    const names = new Set([...files.map(({ name }) => name), ...made])
    const missing = files.flatMap((file) => importsOf(file).filter((one) => isOurs(one) && !names.has(one)))
    expect(missing).toEqual([])
  })
})

describe('pure folders', () => {
  const pure = files.filter(({ name }) => PURE.some((folder) => name.startsWith(folder)))

  test('take time, chance and identity as arguments', () => {
    const code = (text: string) => text.replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*/g, '')
    expect(pure.filter(({ text }) => IMPURE.test(code(text))).map(({ name }) => name)).toEqual([])
  })

  test('import no package and no part of Node', () => {
    expect(pure.flatMap((file) => importsOf(file).filter((one) => !isOurs(one)))).toEqual([])
  })
})

describe('effects have one home', () => {
  test.each([
    ['process.env', /process\.env\b/, ['config/load.ts', 'cli/welcome.ts']],
    ['the pg client', /from 'pg'/, ['storage/']],
    ['the Redis client', /from 'ioredis'/, ['redis/']],
    ['OpenTelemetry', /from '@opentelemetry\//, ['tracing/']],
    ['the inherited environment', /env: process\.env/, []],
  ] as const)('%s', (_name, pattern, homes) => {
    const users = files.filter(({ text }) => pattern.test(text)).map(({ name }) => name)
    expect(users.filter((name) => !homes.some((home) => name.startsWith(home)))).toEqual([])
  })

  test('failures are HelixErrors', () => {
    const plain = files.filter(({ text }) => /throw new (?:Error|TypeError|RangeError)\(/.test(text))
    expect(plain.map(({ name }) => name)).toEqual([])
  })
})

describe('size and names', () => {
  test('no file is longer than 400 lines', () => {
    const long = files.filter(({ text }) => text.split('\n').length > 401).map(({ name }) => name)
    expect(long).toEqual([])
  })

  test('no file is named after nothing in particular', () => {
    const vague = files.filter(({ name }) =>
      /(^|[/-])(utils?|helpers?|misc|common|manager|stuff)[.-]/.test(name),
    )
    expect(vague.map(({ name }) => name)).toEqual([])
  })
})

describe('nothing pretends', () => {
  test('no source speaks of stand-ins or of what comes later', () => {
    const confessions = /\b(mock|stub|dummy|simulated?|fake|placeholder|TODO|FIXME|for now|hardcoded)\b/i
    // A simulator simulates: there alone, and where its command is named, the word says what is so.
    const honest = (name: string, line: string) =>
      folderOf(name) === 'simulator' || name === 'cli/simulate.ts'
        ? line.replaceAll(/simulated?/gi, '')
        : line.replace('cli/simulate.ts', '')
    const found = files.flatMap(({ name, text }) =>
      text
        .split('\n')
        .filter((line) => confessions.test(honest(name, line)))
        .map((line) => `${relative('.', name)}: ${line.trim()}`),
    )
    expect(found).toEqual([])
  })
})
