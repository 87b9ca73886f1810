import type { StepModel, StepWork } from './step-model.ts'

/** One step of an engine as it was measured. */
export interface StepSample extends StepWork {
  readonly ms: number
}

/** Shorter than any step: a fit never gives an engine that takes no time. */
const FIXED_MS_MIN = 1e-3

/**
 * The step model that fits the samples best, by least squares of relative errors: short steps are most of what an engine
 * does, and would count for nothing beside long ones. Of equal steps the median counts, for a machine that does something
 * else now and then makes steps longer, and never by a little. A cost that comes out below zero is noise; it is left out,
 * and the others are fitted again.
 */
export function fitStepModel(measured: readonly StepSample[], stepTokensMax: number): StepModel {
  const samples = medians(measured)
  let kept: readonly Term[] = TERMS
  for (;;) {
    const values = leastSquares(samples, kept)
    const worst = kept.filter((_, place) => (values[place] ?? 0) < 0)
    if (worst.length === 0 || kept.length === 1) {
      const costOf = (term: Term) => Math.max(0, values[kept.indexOf(term)] ?? 0)
      return {
        fixedMs: Math.max(FIXED_MS_MIN, costOf('fixedMs')),
        perSequenceMs: costOf('perSequenceMs'),
        perPromptMs: costOf('perPromptMs'),
        perPromptTokenMs: costOf('perPromptTokenMs'),
        stepTokensMax,
      }
    }
    kept = kept.filter((term) => !worst.includes(term))
  }
}

type Term = Exclude<keyof StepModel, 'stepTokensMax'>

const TERMS: readonly Term[] = ['fixedMs', 'perSequenceMs', 'perPromptMs', 'perPromptTokenMs']

function medians(samples: readonly StepSample[]): StepSample[] {
  const groups = new Map<string, StepSample[]>()
  for (const sample of samples) {
    const key = [sample.sequences, sample.prompts, sample.promptTokens].join()
    groups.set(key, [...(groups.get(key) ?? []), sample])
  }
  return [...groups.values()].flatMap((group) => {
    const sorted = group.sort((a, b) => a.ms - b.ms)
    return sorted[Math.floor(sorted.length / 2)] ?? []
  })
}

function leastSquares(samples: readonly StepSample[], terms: readonly Term[]): number[] {
  const matrix = terms.map(() => terms.map(() => 0))
  const right = terms.map(() => 0)
  for (const sample of samples) {
    const row = terms.map((term) => factorOf(term, sample) / sample.ms)
    for (const [place, factor] of row.entries()) {
      right[place] = (right[place] ?? 0) + factor
      const line = matrix[place] ?? []
      for (const [other, otherFactor] of row.entries())
        line[other] = (line[other] ?? 0) + factor * otherFactor
    }
  }
  return solve(matrix, right)
}

function factorOf(term: Term, { sequences, prompts, promptTokens }: StepSample): number {
  return { fixedMs: 1, perSequenceMs: sequences, perPromptMs: prompts, perPromptTokenMs: promptTokens }[term]
}

/** Gauss with the largest pivot; a term that the samples say nothing about comes out as 0. */
function solve(matrix: readonly (readonly number[])[], right: readonly number[]): number[] {
  const rows = matrix.map((line, place) => [...line, right[place] ?? 0])
  const size = rows.length
  for (let column = 0; column < size; column += 1) {
    const lengthAt = (row: number) => Math.abs(rows[row]?.[column] ?? 0)
    let pivot = column
    for (let row = column + 1; row < size; row += 1) if (lengthAt(row) > lengthAt(pivot)) pivot = row
    const [upper, chosen] = [rows[column], rows[pivot]]
    if (!upper || !chosen || lengthAt(pivot) < 1e-12) continue
    rows[column] = chosen
    rows[pivot] = upper
    for (let row = 0; row < size; row += 1) {
      const line = rows[row]
      if (row === column || !line) continue
      const factor = (line[column] ?? 0) / (chosen[column] ?? 1)
      for (let place = column; place <= size; place += 1) {
        line[place] = (line[place] ?? 0) - factor * (chosen[place] ?? 0)
      }
    }
  }
  return rows.map((row, place) => {
    const diagonal = row[place] ?? 0
    return Math.abs(diagonal) < 1e-12 ? 0 : (row[size] ?? 0) / diagonal
  })
}
