import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { LOG_FIELDS } from '../../src/cli/log-fields.ts'

const src = join(import.meta.dirname, '..', '..', 'src')
const CALL = /\b\w*[lL]og\.(?:debug|info|warn|error)\(\s*'[^']*',\s*\{|\b\w*[lL]og\.with\(\{/g

/** What stands between the brace that ends `text` at `start` and its partner, without what lies in braces of its own. */
function topLevel(text: string, start: number): string {
  let depth = 1
  let kept = ''
  for (let at = start; at < text.length && depth > 0; at++) {
    const letter = text.charAt(at)
    if ('{[('.includes(letter)) depth++
    else if ('}])'.includes(letter)) depth--
    else if (depth === 1) kept += letter
  }
  return kept
}

function fieldsOf(text: string): string[] {
  const spread = [...text.matchAll(/\.\.\.\{/g)].map(({ index }) => topLevel(text, index + 4))
  return [topLevel(text, 0), ...spread].flatMap((part) =>
    part
      .split(',')
      .map((one) => /^\s*([a-zA-Z]\w*)\s*(:|$)/.exec(one)?.[1])
      .filter((name) => name !== undefined),
  )
}

test('every field that a line of the log has is on the list of those that may be said', () => {
  const used = new Set<string>()
  for (const name of readdirSync(src, { recursive: true, encoding: 'utf8' })) {
    if (!name.endsWith('.ts') || name.endsWith('.test.ts')) continue
    const text = readFileSync(join(src, name), 'utf8')
    for (const { index, 0: found } of text.matchAll(CALL)) {
      const start = index + found.length
      for (const field of fieldsOf(text.slice(start, start + 2_000).split('\n  }\n')[0] ?? ''))
        used.add(field)
    }
  }
  expect([...used].filter((field) => !LOG_FIELDS.has(field))).toEqual([])
})
