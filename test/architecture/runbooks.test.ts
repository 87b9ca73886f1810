import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from 'commander'
import { beforeAll, describe, expect, test } from 'vitest'
import { configKeys } from '../../src/config/document.ts'
import type { MetricDeclaration } from '../../src/core/metrics/declaration.ts'
import { METRICS } from '../../src/core/metrics.ts'
import { runbookOf } from '../../src/monitor/alerts/rule.ts'
import { RULES } from '../../src/monitor/alerts/rules.ts'

const root = join(import.meta.dirname, '..', '..')
const docs = join(root, 'docs')
const pages = readdirSync(join(docs, 'runbooks')).map((file) => `runbooks/${file}`)
const overview = readFileSync(join(docs, 'alerts.md'), 'utf8')

/** Labels that a process does not tell itself: whoever reads it adds them. */
const SCRAPED = ['instance', 'role']

/** The command line, made as `main.ts` makes it, without being run. */
const commands = new Map<string, Command>()

beforeAll(async () => {
  const main = readFileSync(join(root, 'src', 'main.ts'), 'utf8')
  for (const [, name = '', file = ''] of main.matchAll(/import \{ (\w+Commands?) \} from '\.\/(cli\/.+)'/g)) {
    const module = (await import(join(root, 'src', file))) as Record<
      string,
      (version: string) => Command | Command[]
    >
    for (const made of [module[name]?.('0.0.0') ?? []].flat()) commands.set(made.name(), made)
  }
})

test('every alert has a page, and every page an alert', () => {
  expect([...pages].sort()).toEqual([...new Set(RULES.map(runbookOf))].sort())
})

test('the list of alerts is that of the table', () => {
  const rows = RULES.map(
    (rule) => `| [${rule.name}](${runbookOf(rule)}) | ${rule.severity} | ${rule.summary} |`,
  )
  expect(overview.split('\n').filter((line) => line.startsWith('| ['))).toEqual(rows)
})

describe.each(['alerts.md', ...pages])('%s', (page) => {
  const text = readFileSync(join(docs, page), 'utf8')

  test('names commands that there are', () => {
    // Alone in a line or between backticks: elsewhere the name is that of the program.
    for (const [, line = ''] of text.matchAll(/(?:^|`)helixflow ([^`\n#]+)/gm))
      expect(unknownIn(line.trim().split(/\s+/)), `helixflow ${line}`).toBeUndefined()
  })

  test('names metrics that there are', () => {
    const names = [...text.matchAll(/\b(?:helixflow|process|nodejs)_[a-z_]+/g)].map(([name]) => name)
    if (page !== 'alerts.md') expect(names).not.toEqual([])
    expect(names.filter((name) => !isMetric(name))).toEqual([])
  })

  test('asks for labels that there are', () => {
    for (const [question, name = '', matchers = ''] of text.matchAll(/\b(helixflow_[a-z_]+)\{([^}]+)\}/g)) {
      const labels = [...matchers.matchAll(/(\w+) *(?:=~|!~|!=|=)/g)].map(([, label = '']) => label)
      expect([...labelsOf(name), ...SCRAPED], question).toEqual(expect.arrayContaining(labels))
    }
  })

  test('names settings that there are', () => {
    const sections = configKeys()
    const named = [...text.matchAll(/`([a-z]+)\.([a-zA-Z]+)/g)]
    const unknown = named.filter(
      ([, section = '', key = '']) => sections.get(section)?.includes(key) === false,
    )
    expect(unknown.map(([name]) => name)).toEqual([])
  })

  test('leads to pages that there are', () => {
    for (const [, link = ''] of text.matchAll(/\]\(([^)#]+\.md)/g))
      expect(readFileSync(join(docs, page, '..', link), 'utf8')).not.toBe('')
  })
})

/** The first word of a command line that is neither a command nor an option of it. */
function unknownIn([name = '', ...words]: readonly string[]): string | undefined {
  const top = commands.get(name)
  if (!top) return name
  let at: Command = top
  for (const word of words) {
    if (word.startsWith('--')) {
      if (!at.options.some(({ long }) => long === word)) return word
      continue
    }
    const next: Command | undefined = at.commands.find((one) => one.name() === word)
    if (!next && at.commands.length > 0) return word
    at = next ?? at
  }
  return undefined
}

function isMetric(name: string): boolean {
  return declarationOf(name) !== undefined
}

function labelsOf(name: string): readonly string[] {
  const declaration = declarationOf(name)
  return [...(declaration?.labels ?? []), ...(declaration?.type === 'histogram' ? ['le'] : [])]
}

/** Of a histogram also by the name of a part of it. */
function declarationOf(name: string): MetricDeclaration | undefined {
  const all: Readonly<Record<string, MetricDeclaration>> = METRICS
  const whole = all[name.replace(/_(bucket|sum|count)$/, '')]
  return all[name] ?? (whole?.type === 'histogram' ? whole : undefined)
}
