import { z } from 'zod'
import { badLine, type Line } from './lines.ts'
import type { TraceRequest } from './trace.ts'

const Row = z.object({
  timestamp: z.number().min(0),
  input_length: z.int().min(0),
  output_length: z.int().min(0),
  hash_ids: z.array(z.int().min(0)),
})

/** Reads a row of the Mooncake traces: milliseconds, lengths, and the prompt's prefix as blocks of 512 tokens. */
export function mooncakeReader(path: string) {
  return {
    startedMs: () => undefined,
    read: (line: Line): TraceRequest => {
      const row = Row.safeParse(jsonOf(line.text))
      if (!row.success) {
        throw badLine(path, line, 'wanted timestamp, input_length, output_length and hash_ids as numbers')
      }
      const { timestamp, input_length, output_length, hash_ids } = row.data
      return {
        ...{ arrivalMs: timestamp, promptTokens: input_length, outputTokens: output_length },
        ...{ model: undefined, tenant: undefined, blocks: hash_ids },
      }
    },
  }
}

/** Undefined for what is no JSON. */
export function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
