import { badLine, type Line, tokenCount } from './lines.ts'
import type { TraceRequest } from './trace.ts'

export const AZURE_HEADER = 'TIMESTAMP,ContextTokens,GeneratedTokens'

/** Reads a row of the Azure LLM inference traces: UTC with seven digits of a second, tokens in, tokens out. */
export function azureReader(path: string) {
  let startedMs: number | undefined
  return {
    startedMs: () => startedMs,
    read: (line: Line): TraceRequest | undefined => {
      if (line.text.trim() === AZURE_HEADER) return undefined
      const [stamp = '', prompt, output, ...rest] = line.text.split(',')
      const atMs = timeOf(stamp)
      const [promptTokens, outputTokens] = [tokenCount(prompt), tokenCount(output)]
      if (atMs === undefined) throw badLine(path, line, 'not a time such as 2023-11-16 18:17:03.9799600')
      if (promptTokens === undefined || outputTokens === undefined || rest.length > 0) {
        throw badLine(path, line, 'wanted a time and two numbers of tokens')
      }
      startedMs ??= atMs
      if (atMs < startedMs) throw badLine(path, line, 'earlier than the first line')
      return {
        ...{ arrivalMs: atMs - startedMs, promptTokens, outputTokens },
        ...{ model: undefined, tenant: undefined, blocks: [] },
      }
    },
  }
}

function timeOf(stamp: string): number | undefined {
  const match = /^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)(\.\d{1,9})?$/.exec(stamp.trim())
  const seconds = match ? Date.parse(`${match[1]}T${match[2]}Z`) : Number.NaN
  return Number.isNaN(seconds) ? undefined : seconds + 1_000 * Number(match?.[3] ?? 0)
}
