import { z } from 'zod'
import { parseMoney } from '../core/money.ts'

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
    const milliseconds = parseDuration(text)
    if (milliseconds !== undefined) return milliseconds
    context.addIssue(`'${text}' is not a duration; write for example 250ms, 30s, 10m, 1h or 7d`)
    return z.NEVER
  })
}

/** Milliseconds; undefined for what is no duration. */
export function parseDuration(text: string): number | undefined {
  return quantity(text, DURATION_UNITS_MS)
}

/** In the largest unit that gives a whole number: `90s`, `1h`. */
export function formatDuration(milliseconds: number): string {
  const fitting = Object.entries(DURATION_UNITS_MS).findLast(([, factor]) => milliseconds % factor === 0)
  const [unit, factor] = milliseconds === 0 || !fitting ? ['ms', 1] : fitting
  return `${milliseconds / factor}${unit}`
}

/** `0.15` -> billionths of the unit of money. Written as a number or as text. */
export function money() {
  return z.union([z.string(), z.number()]).transform((given, context) => {
    const billionths = parseMoney(String(given))
    if (billionths !== undefined) return billionths
    context.addIssue(
      `'${given}' is not an amount of money; write for example 12 or 0.15, with at most nine decimals and below nine million`,
    )
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
