import { z } from 'zod'
import type { EarlierEpoch, StreamHead } from './stream.ts'

const Head = z.object({
  id: z.string(),
  epoch: z.string(),
  tenant: z.string(),
  projectId: z.string(),
  kind: z.enum(['chat', 'response']),
  requestId: z.string(),
  model: z.string(),
  createdAtMs: z.number(),
  includeUsage: z.boolean(),
  /** JSON has no Infinity. */
  detachMs: z
    .number()
    .nullable()
    .transform((detachMs) => detachMs ?? Number.POSITIVE_INFINITY),
  again: z.string().optional(),
})
const Earlier = z.array(z.object({ epoch: z.string(), seq: z.number() }))

/** A head as Redis keeps it. */
export function writeHead(head: StreamHead): string {
  return JSON.stringify(head)
}

/** Also of a newer program, which may have written more. */
export function readHead(text: string): StreamHead {
  return Head.parse(JSON.parse(text))
}

export function readEarlier(text: string): readonly EarlierEpoch[] {
  return Earlier.parse(JSON.parse(text))
}
