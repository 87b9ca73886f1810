import { z } from 'zod'

const DURATION_UNITS_MS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const
const SIZE_UNITS_BYTES = {
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
} as const

/** `250ms`, `30s`, `10m`, `1h`, `7d` -> milliseconds. A bare number is refused: its unit would be a guess. */
export function duration() {
  return z.string().transform((text, context) => {
    const milliseconds = quantity(text, DURATION_UNITS_MS)
    if (milliseconds !== undefined) return milliseconds
    context.addIssue(`'${text}' is not a duration; write for example 250ms, 30s, 10m, 1h or 7d`)
    return z.NEVER
  })
}

/** `512MiB`, `8GiB`, `20MB` -> bytes. */
export function size() {
  return z.string().transform((text, context) => {
    const bytes = quantity(text, SIZE_UNITS_BYTES)
    if (bytes !== undefined) return Math.round(bytes)
    context.addIssue(`'${text}' is not a size; write for example 512MiB, 8GiB or 20MB`)
    return z.NEVER
  })
}

function quantity(text: string, units: Readonly<Record<string, number>>): number | undefined {
  const match = /^(\d{1,12}(?:\.\d{1,6})?)\s*([A-Za-z]+)$/.exec(text.trim())
  const factor = units[match?.[2] ?? '']
  return match && factor !== undefined ? Number(match[1]) * factor : undefined
}
