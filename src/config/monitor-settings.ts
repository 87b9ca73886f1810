import { z } from 'zod'
import { Receivers } from './notification-settings.ts'
import { duration, money } from './quantities.ts'

const Target = z.strictObject({
  url: z.url({ protocol: /^https?$/ }),
  role: z.enum(['all', 'gateway', 'auth', 'pool', 'node', 'monitor']),
})

const INTERVAL_MIN_MS = 100

/** The monitor: what it reads, how long it remembers, whom it tells. */
export const MonitorSettings = z.strictObject({
  enabled: z
    .boolean()
    .default(true)
    .describe('false: `helixflow up` reads no metrics of its own, keeps no history and tells nobody.'),
  interval: duration()
    .refine((milliseconds) => milliseconds >= INTERVAL_MIN_MS, 'must be at least 100ms')
    .prefault('10s')
    .describe('How often the metrics of every process are read and judged.'),
  targets: z
    .array(Target)
    .default([])
    .describe(
      'Processes on other machines: {url: "http://10.0.0.4:9464/metrics", role: gateway}; role is all (helixflow up), gateway, auth, pool, node or monitor.',
    ),
  keepFine: duration().prefault('12h').describe('How long figures of each 10 seconds are kept.'),
  keepMinutes: duration().prefault('14d').describe('How long figures of each minute are kept.'),
  keepHours: duration().prefault('400d').describe('How long figures of each hour are kept.'),
  receivers: Receivers,
  runbookUrl: z
    .url({ protocol: /^https?$/ })
    .optional()
    .describe(
      'Where the pages about alerts are read, which notifications link to; by default their path in docs.',
    ),
  deviceCosts: z
    .record(z.string().min(1).max(256), money())
    .default({})
    .describe(
      "What an hour of a device costs, by its id or kind, for what a million tokens of your own cost: {GPU-1a2b: 2.5, cuda: 2, '*': 0}; '*' is any other.",
    ),
})
