/** One number that a process exports, as a scraper sees it: of a histogram its buckets, its sum and its count apart. */
export interface Sample {
  /** With `_bucket`, `_sum` or `_count` at its end where it is a part of a histogram. */
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}
