// The compiled platform, whose metrics and access log can be switched off and on again while it runs: what is compared is
// one process with itself, since two of them differ by more than either costs. Nothing in src knows of it.
import { createServer } from 'node:http'
import { engineFinders } from '../dist/cli/engine.js'
import { createLogs } from '../dist/cli/logger.js'
import { startPlatform } from '../dist/cli/platform.js'
import { stopSignal } from '../dist/cli/stop-signal.js'
import { loadSettings } from '../dist/config/load.js'
import { placesOf } from '../dist/config/places.js'
import { callOperation } from '../dist/contracts/administration/call.js'
import { MetricRegistry } from '../dist/metrics/registry.js'

const METHODS = ['add', 'set', 'observe']
const REPLAYED = 20_000
const BATCHES = 50

const on = { metrics: true, log: true }
/** Calls of the registry since recording began. */
let recorded

for (const method of METHODS) {
  const real = MetricRegistry.prototype[method]
  MetricRegistry.prototype[method] = function (...given) {
    if (on.metrics) real.apply(this, given)
    if (recorded) recorded.push([method, given])
  }
  MetricRegistry.prototype[`real_${method}`] = real
}

function switched(log) {
  return { ...log, info: (...given) => on.log && log.info(...given) }
}

/** The least nanoseconds that the recorded calls of one request take together; the least, for anything else is noise. */
function replay(calls) {
  const registry = new MetricRegistry()
  const steps = calls.map(([method, [name, labels, ...rest]]) => {
    const real = registry[`real_${method}`].bind(registry)
    // As at its place in the program: new labels for each call.
    return () => real(name, { ...labels }, ...rest)
  })
  let leastNs = Number.POSITIVE_INFINITY
  for (let batch = 0; batch < BATCHES; batch++) {
    const startNs = process.hrtime.bigint()
    for (let at = 0; at < REPLAYED; at++) for (const step of steps) step()
    leastNs = Math.min(leastNs, Number(process.hrtime.bigint() - startNs) / REPLAYED)
  }
  return leastNs
}

function answer(url) {
  const { pathname, searchParams } = new URL(url, 'http://control')
  if (pathname === '/record') recorded = []
  if (pathname === '/recorded') {
    const calls = recorded ?? []
    recorded = undefined
    return {
      calls: calls.map(([method, [name, labels]]) => ({ method, name, labels })),
      nanoseconds: replay(calls),
    }
  }
  if (pathname === '/switch') for (const what of ['metrics', 'log']) on[what] = searchParams.get(what) === '1'
  const { user, system } = process.cpuUsage()
  return { cpuMicroseconds: user + system }
}

const stopping = stopSignal()
const settings = loadSettings({ configPath: process.argv[process.argv.indexOf('--config') + 1] })
const places = placesOf(settings.home, settings.config)
const { log, accessLog } = createLogs(settings.config.log)
const work = { log, onProgress: () => {}, signal: stopping.signal }
const platform = await startPlatform({
  ...{ settings, log, accessLog: switched(accessLog), version: '0.0.0' },
  ...engineFinders(settings, places, work),
})
const operator = { actor: 'operator', organisationId: 'org_default' }
const { plaintext } = await callOperation(platform.auth, operator, 'keys.create', { name: 'bench' })
const control = createServer((request, response) => {
  response.setHeader('content-type', 'application/json').end(JSON.stringify(answer(request.url)))
})
await new Promise((resolve) => control.listen(0, '127.0.0.1', resolve))
const facts = { url: `${platform.gateway.url}/v1`, apiKey: plaintext, controlPort: control.address().port }
process.stdout.write(`${JSON.stringify(facts)}\n`)
await stopping.asked
control.close()
await platform.stop()
