// A process that asks for a limit as a gateway does: `tsx limiter-process.ts '{...}'`. Begins with a line on its
// standard input, and tells at the end what it got.
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Charge } from '../../src/limits/store.ts'
import { Limiter } from './limiter.ts'

export interface LimiterTask {
  readonly urls: readonly string[]
  readonly prefix: string
  readonly charge: Charge
  readonly perSecond: number
  readonly seconds: number
}

export interface LimiterReport {
  readonly granted: number
  readonly refused: number
  readonly failures: readonly string[]
  readonly outages: number
  readonly startedAtMs: number
  readonly endedAtMs: number
}

const task = JSON.parse(process.argv[2] ?? '{}') as LimiterTask
const limiter = await Limiter.start({ urls: task.urls }, task.prefix)
process.stdout.write('ready\n')
await once(process.stdin, 'data')
// Everybody knows of everybody.
while (limiter.peers.share().gateways < 4) await sleep(50)
const startedAtMs = Date.now()
const waiting = new Set<Promise<unknown>>()
for (let sent = 0; ; ) {
  const elapsedSeconds = (Date.now() - startedAtMs) / 1_000
  if (elapsedSeconds >= task.seconds) break
  for (; sent < elapsedSeconds * task.perSecond; sent++) {
    const asked = limiter.ask([task.charge])
    waiting.add(asked)
    void asked.finally(() => waiting.delete(asked))
  }
  await sleep(5)
}
await Promise.all(waiting)
const { granted, refused, failures, outages } = limiter
const report: LimiterReport = {
  granted,
  refused,
  failures: failures.map(String),
  outages: outages.filter(Boolean).length,
  startedAtMs,
  endedAtMs: Date.now(),
}
process.stdout.write(`${JSON.stringify(report)}\n`)
await limiter.stop()
process.exit(0)
