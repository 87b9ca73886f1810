import { z } from 'zod'
import { badLine, type Line, tokenCount } from './lines.ts'
import { jsonOf } from './mooncake.ts'
import type { TraceRequest } from './trace.ts'

/** Our own CSV has this first line; the columns after the first three may be missing. */
export const PLAIN_HEADER = /^arrival_s,prompt_tokens,output_tokens(,model)?(,tenant)?$/

const Row = z.strictObject({
  arrival_s: z.number().min(0),
  prompt_tokens: z.int().min(0),
  output_tokens: z.int().min(0),
  model: z.string().min(1).optional(),
  tenant: z.string().min(1).optional(),
})

/** Reads our own simple form, as CSV with a header or as one JSON object per line with the same names. */
export function plainReader(path: string) {
  let columns: readonly string[] = []
  return {
    startedMs: () => undefined,
    read: (line: Line): TraceRequest | undefined => {
      if (PLAIN_HEADER.test(line.text.trim())) {
        columns = line.text.trim().split(',')
        return undefined
      }
      const parsed = Row.safeParse(columns.length > 0 ? objectOf(columns, line.text) : jsonOf(line.text))
      if (!parsed.success) {
        const [issue] = parsed.error.issues
        throw badLine(path, line, `${issue?.path.join('.') || 'row'}: ${issue?.message ?? 'not understood'}`)
      }
      const { arrival_s, prompt_tokens, output_tokens, model, tenant } = parsed.data
      return {
        ...{ arrivalMs: arrival_s * 1_000, promptTokens: prompt_tokens, outputTokens: output_tokens },
        ...{ model, tenant, blocks: [] },
      }
    },
  }
}

function objectOf(columns: readonly string[], text: string): object {
  const cells = text.split(',')
  const entries = columns.map((column, place) => {
    const cell = cells[place]?.trim()
    if (column === 'arrival_s') return [column, cell ? Number(cell) : undefined]
    return [column, column.endsWith('_tokens') ? tokenCount(cell) : cell || undefined]
  })
  return {
    ...Object.fromEntries(entries),
    ...(cells.length > columns.length ? { 'a further column': true } : {}),
  }
}
