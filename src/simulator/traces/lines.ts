import { open } from 'node:fs/promises'
import { HelixError } from '../../core/errors.ts'

export interface Line {
  readonly text: string
  readonly number: number
}

/**
 * The lines of a file that are not empty, read as they are asked for.
 * @throws HelixError `not_found` for a file that cannot be read
 */
export async function* linesOf(path: string): AsyncGenerator<Line> {
  const file = await open(path).catch((cause: Error) => {
    throw new HelixError('not_found', `The trace ${path} cannot be read: ${cause.message}`, { cause })
  })
  let number = 0
  try {
    for await (const text of file.readLines({ encoding: 'utf8' })) {
      number += 1
      if (text.trim() !== '') yield { text, number }
    }
  } finally {
    await file.close().catch(() => {})
  }
}

/** What is wrong with a line, and which one it is. */
export function badLine(path: string, { number, text }: Line, problem: string): HelixError {
  const shown = text.length > 80 ? `${text.slice(0, 80)}...` : text
  return new HelixError('invalid_value', `${path}, line ${number}: ${problem}: ${shown}`)
}

/** A number of tokens as it stands in a trace. */
export function tokenCount(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,9}$/.test(text.trim()) ? Number(text) : undefined
}
