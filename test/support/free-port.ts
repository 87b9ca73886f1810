import { once } from 'node:events'
import { createServer } from 'node:net'

/**
 * Below those that systems give to whoever does not care (Linux: from 32768), so that nobody gets one by chance, while
 * its server is being started or started again. Test files that run beside each other have a thousand each.
 */
const FIRST = 10_000
const PER_WORKER = 1_000
const WORKERS_MAX = 10

/** Of a server of this number, a cluster's nodes talk to each other on another one. */
const BUS_OFFSET = 10_000

const worker = Number(process.env['VITEST_POOL_ID'] ?? 0) % WORKERS_MAX
let next = Math.floor(Math.random() * PER_WORKER)

/** A port that nobody listens on and that nobody else in this run is given; the one 10,000 above it goes with it. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = FIRST + worker * PER_WORKER + (next++ % PER_WORKER)
    if ((await canListen(port)) && (await canListen(port + BUS_OFFSET))) return port
  }
}

async function canListen(port: number): Promise<boolean> {
  const server = createServer().listen(port, '127.0.0.1')
  try {
    await once(server, 'listening')
  } catch {
    return false
  }
  server.close()
  await once(server, 'close')
  return true
}
