const BLOCKS = '▁▂▃▄▅▆▇█'

/** The course of values as a line of blocks, so many at most: of those that share one, the greatest. */
export function sparkline(values: readonly number[], widthMax: number): string {
  const together = Math.max(1, Math.ceil(values.length / widthMax))
  const columns: number[] = []
  for (let start = 0; start < values.length; start += together)
    columns.push(Math.max(...values.slice(start, start + together)))
  const low = Math.min(...columns)
  const height = Math.max(...columns) - low
  return columns
    .map((value) =>
      BLOCKS.charAt(height === 0 ? 0 : Math.round(((value - low) / height) * (BLOCKS.length - 1))),
    )
    .join('')
}
