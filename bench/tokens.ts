import type { Benchmark } from './report.ts'
export const tokens: Benchmark = {
  summary: 'tbd',
  run: async () => {
    throw new Error('not yet')
  },
}
