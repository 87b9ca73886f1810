import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { PoolPlatform, type Service, signalService } from '../support/pool-platform.ts'
import { processesWith } from '../support/processes.ts'

const program = join(import.meta.dirname, '..', '..', 'bin', 'helixflow.js')

let platform: PoolPlatform
beforeAll(async () => {
  platform = await PoolPlatform.start({ pools: 2, nodes: 2, gateways: 2, monitors: 2 })
})
afterAll(() => platform?.stop())

interface Outcome {
  readonly status: number
  /** The code of the error, in the answer or in its stream; undefined for a whole answer. */
  readonly code: string | undefined
}

async function ask(model: string, gateway = 0): Promise<Outcome> {
  const answer = await fetch(`${platform.gateways[gateway]?.ready['url']}/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${platform.apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      ...{ model, stream: true, max_tokens: 60, seed: 1 },
      messages: [{ role: 'user', content: 'Hello' }],
    }),
  })
  const text = await textOf(answer)
  const isWhole = answer.status === 200 && text.trimEnd().endsWith('data: [DONE]')
  const code = isWhole ? undefined : (/"code":"(\w+)"/.exec(text)?.[1] ?? `no code: ${text.slice(-200)}`)
  return { status: answer.status, code }
}

/** What came of it, also where the connection was cut at last. */
async function textOf({ body }: Response): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  try {
    for await (const chunk of body ?? []) text += decoder.decode(chunk, { stream: true })
    return text
  } catch (reason) {
    return `${text}\ncut: ${reason}`
  }
}

/** Asks without a pause, four at a time at each gateway, until `end`. */
function load(model: string) {
  const outcomes: Outcome[] = []
  let isOver = false
  const worker = async (at: number) => {
    while (!isOver) outcomes.push(await ask(model, at % 2))
  }
  const workers = Promise.all(Array.from({ length: 8 }, (_, at) => worker(at)))
  return {
    outcomes,
    end: async (): Promise<readonly Outcome[]> => {
      isOver = true
      await workers
      return outcomes
    },
  }
}

/** What the command line says at a gateway. */
function tell<T>(...words: string[]): T {
  const home = platform.gateways[0]?.home ?? ''
  const { stdout, stderr } = spawnSync(
    process.execPath,
    [program, ...words, '--json', '--config', join(home, 'test.yaml')],
    { encoding: 'utf8', env: { PATH: process.env['PATH'] ?? '', HELIXFLOW_HOME: home } },
  )
  if (stdout === '') throw new Error(stderr)
  return JSON.parse(stdout) as T
}

type Devices = readonly { node: string; instances: readonly { model: string; state: string }[] }[]

/** The node that runs the model, and the other one. */
function nodesOf(model: string): readonly [Service, Service] {
  const devices = tell<Devices>('devices')
  const at = devices.find(({ instances }) =>
    instances.some((one) => one.model === model && one.state === 'ready'),
  )
  const [here] = platform.nodes.filter(({ name }) => name === at?.node)
  const [there] = platform.nodes.filter(({ name }) => name !== at?.node)
  if (!here || !there) throw new Error(`${model} is nowhere: ${JSON.stringify(devices)}`)
  return [here, there]
}

function listNodes(): readonly string[] {
  return tell<{ nodes: { id: string }[] }>('nodes', 'list')
    .nodes.map(({ id }) => id)
    .sort()
}

/** When the service wrote such a line of its log. */
function loggedAtMs({ log }: Service, message: string, model: string): number {
  const lines = log().split('\n').filter(Boolean)
  const found = lines
    .map((line) => JSON.parse(line) as { event: string; time: string; model?: string })
    .findLast(({ event, model: of }) => event === message && of === model)
  return found ? Date.parse(found.time) : Number.POSITIVE_INFINITY
}

/** Of the platform's error contract: what a request may end with while machines fail. */
const BY_CONTRACT = new Set<string | undefined>(['engine_failed', 'model_loading', 'insufficient_memory'])

test('every role tells of itself where Prometheus reads, and of nothing that it does not have', async () => {
  const { auth, pools, nodes, gateways } = platform
  const services = { auth, pool: pools[0], node: nodes[0], gateway: gateways[0] }
  const own = {
    auth: ['helixflow_db_up 1', 'helixflow_db_pool_connections_max 5'],
    pool: ['helixflow_pool_leader '],
    node: ['helixflow_disk_free_bytes{place="models"}'],
    gateway: ['helixflow_disk_free_bytes{place="spool"}'],
  }
  for (const role of ['auth', 'pool', 'node', 'gateway'] as const) {
    const text = await (await fetch(services[role]?.ready['metricsUrl'] ?? '')).text()
    expect(text).toMatch(new RegExp(`^helixflow_build_info\\{.*role="${role}".*\\} 1$`, 'm'))
    const certificate = 'helixflow_certificate_expiry_timestamp_seconds{certificate="rpc.tls.certificate"}'
    for (const start of [...own[role], certificate]) expect(text).toContain(`\n${start}`)
    expect(text.includes('\nhelixflow_db_up ')).toBe(role === 'auth')
    expect(text).not.toContain('\nhelixflow_redis_up ')
  }
})

test('monitors of their own tell each gateway how all are, one of them is told of and works, and another stands in', async () => {
  const healthOf = (at: number) => async () => {
    const { stdout } = spawnSync(
      process.execPath,
      [program, 'doctor', '--json', '--config', join(platform.gateways[at]?.home ?? '', 'test.yaml')],
      {
        encoding: 'utf8',
        env: { PATH: process.env['PATH'] ?? '', HELIXFLOW_HOME: platform.gateways[at]?.home ?? '' },
      },
    )
    const { findings } = JSON.parse(stdout) as { findings: { subject: string; finding: string }[] }
    return findings.filter(({ subject }) => ['service', 'node', 'database'].includes(subject)).length
  }
  for (const at of [0, 1]) {
    const origin = platform.gateways[at]?.ready['url']?.replace(/\/v1$/, '')
    const verdict = async () =>
      ((await (await fetch(`${origin}/healthz`)).json()) as { status: string }).status
    await expect.poll(verdict, { timeout: 20_000 }).toBe('healthy')
    await expect.poll(healthOf(at), { timeout: 20_000 }).toBeGreaterThan(4)
  }
  expect(tell<unknown[]>('alerts', 'list')).toEqual([])
  const works = () => platform.monitors.filter(({ log }) => log().includes('this monitor works'))
  expect(works()).toHaveLength(1)
  const [working] = works()
  if (working) await signalService(working, 'SIGKILL')
  await expect.poll(() => works().length, { timeout: 30_000 }).toBe(2)
})

test('a model is loaded on a node when it is asked for, and answers at every gateway', async () => {
  expect(listNodes()).toEqual(['node-0', 'node-1'])
  for (const gateway of [0, 1])
    expect(await ask('tiny', gateway)).toMatchObject({ status: 200, code: undefined })
  const [here, there] = nodesOf('tiny')
  expect(processesWith(here.home).length).toBeGreaterThan(1)
  expect(processesWith(there.home)).toHaveLength(1)
})

test('under load, gateways share the slots of one engine and every answer is whole', async () => {
  const running = load('tiny')
  await expect.poll(() => running.outcomes.length, { timeout: 60_000 }).toBeGreaterThan(100)
  const outcomes = await running.end()
  expect(outcomes.filter(({ code }) => code !== undefined)).toEqual([])
})

test('when the leader dies under load no answer breaks, and new models are loaded within five seconds', async () => {
  const [leader, standby] = platform.pools
  if (!leader || !standby) throw new Error('two were started')
  const running = load('tiny')
  await ask('tiny')
  const killedAtMs = Date.now()
  await signalService(leader, 'SIGKILL')
  expect(await ask('other')).toMatchObject({ status: 200, code: undefined })
  const outcomes = await running.end()
  expect(outcomes.filter(({ code }) => code !== undefined)).toEqual([])
  expect(loggedAtMs(standby, 'loading model', 'other') - killedAtMs).toBeLessThan(5_000)
  expect(standby.log()).toContain('engine adopted')
  await platform.startPool(0)
})

test('a leader that stands still is replaced, and leads no more when it goes on', async () => {
  const [standby, leader] = platform.pools
  if (!leader || !standby) throw new Error('two were started')
  const running = load('tiny')
  await ask('tiny')
  leader.process.kill('SIGSTOP')
  await ask('other')
  await expect.poll(() => standby.log(), { timeout: 15_000 }).toContain('"event":"leading"')
  expect(await ask('third')).toMatchObject({ code: undefined })
  leader.process.kill('SIGCONT')
  await expect.poll(() => leader.log(), { timeout: 15_000 }).toContain('"event":"leading no more"')
  expect(listNodes()).toEqual(['node-0', 'node-1'])
  const outcomes = await running.end()
  expect(outcomes.filter(({ code }) => code !== undefined)).toEqual([])
})

test('when a node dies under load its model comes up on the other, and requests fail by contract at worst', async () => {
  const [here, there] = nodesOf('tiny')
  const running = load('tiny')
  await ask('tiny')
  await signalService(here, 'SIGKILL')
  await expect.poll(() => ask('tiny').then(({ code }) => code), { timeout: 30_000 }).toBeUndefined()
  expect(nodesOf('tiny')[0]).toBe(there)
  const outcomes = await running.end()
  const codes = outcomes.map(({ code }) => code).filter((code) => code !== undefined)
  expect(codes.filter((code) => !BY_CONTRACT.has(code))).toEqual([])
  // Its engines went with it.
  await expect.poll(() => processesWith(here.home)).toEqual([])
})

test('a node that comes back is used again', async () => {
  const lost = platform.nodes.findIndex(({ process: child }) => child.signalCode !== null)
  await platform.startNode(lost)
  expect(listNodes()).toEqual(['node-0', 'node-1'])
  expect(await ask('other')).toMatchObject({ code: undefined })
})

test('when a node stands still its models are served by the other, and what it has is known when it goes on', async () => {
  const [here, there] = nodesOf('tiny')
  here.process.kill('SIGSTOP')
  await expect.poll(() => listNodes(), { timeout: 15_000 }).toEqual([there.name])
  expect(await ask('tiny')).toMatchObject({ code: undefined })
  here.process.kill('SIGCONT')
  await expect.poll(() => listNodes(), { timeout: 15_000 }).toEqual(['node-0', 'node-1'])
  expect(await ask('tiny')).toMatchObject({ code: undefined })
})

test('a node that is told to end takes its engines with it, and its model is served elsewhere', async () => {
  const [here, there] = nodesOf('tiny')
  await signalService(here, 'SIGTERM')
  expect(here.process.exitCode).toBe(0)
  expect(processesWith(here.home)).toEqual([])
  expect(listNodes()).toEqual([there.name])
  expect(await ask('tiny')).toMatchObject({ code: undefined })
})
