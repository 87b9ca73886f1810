import { HelixError } from '../core/errors.ts'

/** The terminal, as commands see it: results on standard output, everything else on standard error. */
export interface Output {
  line(text?: string): void
  note(text: string): void
  /** A result as JSON when `--json` was given, else as the text. */
  result(value: unknown, text: () => string): void
}

export function terminalOutput(json: boolean): Output {
  return {
    line: (text = '') => void process.stdout.write(`${text}\n`),
    note: (text) => void process.stderr.write(`${text}\n`),
    result: (value, text) => {
      process.stdout.write(
        json ? `${JSON.stringify(value, undefined, process.stdout.isTTY ? 2 : 0)}\n` : `${text()}\n`,
      )
    },
  }
}

/** Says what went wrong and gives the exit code: 2 for wrong usage, else 1. */
export function reportFailure(reason: unknown, json: boolean): number {
  const error = HelixError.from(reason)
  const text = error.code === 'internal_error' ? error.message : error.publicMessage
  process.stderr.write(json ? `${JSON.stringify(error.toBody())}\n` : `helixflow: ${text}\n`)
  return error.code === 'invalid_arguments' ? 2 : 1
}

/** Rows under headings, columns as wide as they must be. */
export function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [headings, ...rows]
  const widths = headings.map((_, column) => Math.max(...all.map((row) => (row[column] ?? '').length)))
  return all
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

/** 98362432 -> `98.4 MB`. */
export function sizeText(bytes: number | undefined): string {
  if (bytes === undefined) return '-'
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  const power = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, bytes)) / 3))
  return `${(bytes / 1000 ** power).toFixed(power === 0 ? 0 : 1)} ${units[power]}`
}

/** 92000 -> `1m 32s`. */
export function durationText(milliseconds: number): string {
  const seconds = Math.round(milliseconds / 1000)
  if (seconds < 60) return `${seconds}s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m ${seconds % 60}s`
  return `${Math.floor(seconds / 3600)}h ${Math.floor((seconds % 3600) / 60)}m`
}
