import { randomBytes } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { startServer } from '../support/server.ts'
import { TraceReceiver } from '../support/trace-receiver.ts'

/** Words that are nowhere else. */
const secret = (name: string) => `${name}-${randomBytes(12).toString('hex')}`

/** Another's server that fails and says in its error whatever it was sent. */
async function echoingUpstream(): Promise<string> {
  const server = createServer((request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () => {
      const message = `${JSON.stringify(request.headers)} ${Buffer.concat(parts)}`
      response.writeHead(500, { 'content-type': 'application/json' })
      response.end(JSON.stringify({ error: { message, code: 'broken' } }))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void server.close())
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`
}

test('nothing that is secret or said gets into logs, spans, metrics or other answers, whatever goes wrong', async () => {
  const traces = await TraceReceiver.start()
  onTestFinished(() => traces.stop())
  const secrets = {
    prompt: secret('prompt'),
    user: secret('label'),
    cookie: secret('cookie'),
    forged: secret('hf_live_forged'),
    jwt: `${Buffer.from('{"alg":"EdDSA"}').toString('base64url')}.${secret('claims')}.${secret('signature')}`,
    upstreamKey: secret('upstream'),
    receiver: secret('receiver'),
    query: secret('query'),
    broken: secret('broken'),
  }
  const server = await startServer({
    config: {
      log: { format: 'json', level: 'debug' },
      tracing: { endpoint: traces.endpoint, headers: { authorization: secrets.receiver } },
      monitor: {
        receivers: [{ kind: 'webhook', name: 'hook', url: 'http://127.0.0.1:9/', secret: secrets.receiver }],
      },
      upstreams: [
        { name: 'far', url: await echoingUpstream(), models: ['far'], apiKey: secrets.upstreamKey },
      ],
    },
  })
  onTestFinished(async () => void (await server.stop()))
  const answers: string[] = []
  const ask = async (path: string, body: unknown, credential = server.apiKey) => {
    const answer = await fetch(`${server.origin}${path}`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${credential}`,
        cookie: `session=${secrets.cookie}`,
        'content-type': 'application/json',
      },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    })
    answers.push(await answer.text())
    return answer.status
  }
  const chat = (model: string, more = {}) => ({
    model,
    messages: [{ role: 'user', content: secrets.prompt }],
    user: secrets.user,
    max_completion_tokens: 4,
    ...more,
  })
  const path = '/v1/chat/completions'
  expect(await ask(path, chat('tiny'))).toBe(200)
  expect(await ask(path, chat('tiny', { stream: true }))).toBe(200)
  expect(await ask(path, chat('far'))).toBeGreaterThanOrEqual(500)
  expect(await ask(path, chat('nowhere'))).toBe(404)
  expect(await ask(path, chat('tiny', { temperature: secrets.prompt }))).toBe(400)
  expect(await ask(path, `{"model":"tiny","${secrets.broken}`)).toBe(400)
  expect(await ask(path, chat('tiny'), secrets.forged)).toBe(401)
  expect(await ask(path, chat('tiny'), secrets.jwt)).toBe(401)
  expect(await ask(`${path}?key=${secrets.query}`, chat('tiny'))).toBe(200)
  expect(await ask('/auth/v1/token', { grant_type: 'password', password: secrets.broken })).toBeGreaterThan(
    399,
  )

  const metrics = await (await fetch(server.metricsUrl)).text()
  await server.stop()
  const spans = traces.raw
  expect(spans).toContain('chat tiny')
  expect(server.log()).toContain('"event":"request"')
  const written = { log: server.log(), metrics, spans }
  const found = Object.entries({ ...secrets, key: server.apiKey }).flatMap(([name, value]) =>
    Object.entries(written).flatMap(([where, text]) =>
      text.includes(value) ? [`${name} in the ${where}`] : [],
    ),
  )
  // The caller's own label for its user stands in the access log, which is what it is for.
  expect(found.filter((one) => one !== 'user in the log')).toEqual([])
  for (const hidden of [secrets.upstreamKey, secrets.receiver]) expect(answers.join()).not.toContain(hidden)
})
