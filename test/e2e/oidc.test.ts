import { afterAll, beforeAll, expect, test } from 'vitest'
import { Browser } from '../support/browser.ts'
import { helixflow } from '../support/helixflow.ts'
import { IdentityProvider } from '../support/identity-provider.ts'
import { type Server, startServer } from '../support/server.ts'

let provider: IdentityProvider
let server: Server
beforeAll(async () => {
  provider = await IdentityProvider.start()
  const { issuer, clientId, clientSecret } = provider
  const oidc = { issuer, clientId, clientSecret, roles: { staff: { role: 'developer' } } }
  server = await startServer({ model: null, config: { auth: { oidc }, gateway: { keyCacheTtl: '10m' } } })
  provider.register(`${server.origin}/auth/v1/oidc/callback`)
  provider.accounts.set('ada', {
    email: 'ada@example.com',
    email_verified: true,
    name: 'Ada',
    groups: ['staff'],
  })
  provider.person = 'ada'
})
afterAll(async () => {
  await server?.stop()
  await provider?.stop()
})

const callback = () => `${server.origin}/auth/v1/oidc/callback`

async function codeOf(response: Response): Promise<string> {
  const { error } = (await response.json()) as { error?: { code: string } }
  return error?.code ?? ''
}

function renew(browser: Browser, origin?: string) {
  return browser.send(`${server.origin}/auth/v1/token`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(origin === undefined ? {} : { origin }) },
    body: JSON.stringify({ grant_type: 'refresh_token' }),
  })
}

async function models(token: string): Promise<number> {
  const headers = { authorization: `Bearer ${token}` }
  return (await fetch(`${server.url}/models`, { headers })).status
}

test('a browser logs in at the provider, keeps a cookie, and gets access tokens for it', async () => {
  const browser = new Browser()
  const answer = await browser.follow(`${server.origin}/auth/v1/oidc/login?return_to=/docs`, callback())
  const finished = await browser.send(answer)
  expect([finished.status, finished.headers.get('location')]).toEqual([302, '/docs'])
  const set = finished.headers.getSetCookie()
  expect(set.find((line) => line.startsWith('helixflow_refresh='))).toMatch(/HttpOnly; SameSite=Strict/)
  expect(set.find((line) => line.startsWith('helixflow_login='))).toMatch(/^helixflow_login=;.*Max-Age=0/)

  const renewed = await renew(browser, server.origin)
  const body = (await renewed.json()) as Record<string, unknown>
  expect(body).toMatchObject({ token_type: 'Bearer', expires_in: 600 })
  expect(Object.keys(body)).not.toContain('refresh_token')
  expect(await models(String(body['access_token']))).toBe(200)

  // Pages of other sites make browsers send cookies too.
  expect(await codeOf(await renew(browser))).toBe('invalid_grant')
  expect(await codeOf(await renew(browser, 'https://evil.example'))).toBe('invalid_grant')
  // These have not spent it.
  expect((await renew(browser, server.origin)).status).toBe(200)
})

test('without a page to return to, the access token is the answer', async () => {
  const browser = new Browser()
  const finished = await browser.send(await browser.follow(`${server.origin}/auth/v1/oidc/login`, callback()))
  const body = (await finished.json()) as Record<string, unknown>
  expect([finished.status, finished.headers.get('cache-control')]).toEqual([200, 'no-store'])
  expect(Object.keys(body).sort()).toEqual(['access_token', 'expires_in', 'token_type'])
  expect(await models(String(body['access_token']))).toBe(200)
})

test.each(['//evil.example', '/\\evil.example', 'https://evil.example', '/%0d%0aset-cookie:a=b/\r\n'])(
  'there is no return to %j',
  async (path) => {
    const query = new URLSearchParams({ return_to: path })
    const response = await new Browser().send(`${server.origin}/auth/v1/oidc/login?${query}`)
    expect([response.status, await codeOf(response)]).toEqual([400, 'invalid_value'])
  },
)

test('an answer is refused in a browser that did not ask, and a second time', async () => {
  const browser = new Browser()
  const answer = await browser.follow(`${server.origin}/auth/v1/oidc/login`, callback())
  const elsewhere = await new Browser().send(answer)
  expect([elsewhere.status, await codeOf(elsewhere)]).toEqual([401, 'invalid_grant'])
  const other = new Browser()
  await other.follow(`${server.origin}/auth/v1/oidc/login`, callback())
  expect(await codeOf(await other.send(answer))).toBe('invalid_grant')
  expect((await browser.send(answer)).status).toBe(200)
  expect(await codeOf(await browser.send(answer))).toBe('invalid_grant')
})

test('a group lost at the provider ends what was open, at once', async () => {
  const browser = new Browser()
  const finished = await browser.send(await browser.follow(`${server.origin}/auth/v1/oidc/login`, callback()))
  const { access_token: token } = (await finished.json()) as { access_token: string }
  expect(await models(token)).toBe(200)
  provider.accounts.set('ada', { ...provider.accounts.get('ada'), groups: [] })
  const again = new Browser()
  const refused = await again.send(await again.follow(`${server.origin}/auth/v1/oidc/login`, callback()))
  expect(await codeOf(refused)).toBe('invalid_grant')
  // Far sooner than the gateway would ask again by itself.
  await expect.poll(() => models(token), { timeout: 60_000 }).toBe(401)
})

test('neither the settings that are shown nor the log hold a secret', async () => {
  const { out } = await helixflow(server, 'config', 'show', '--json')
  expect(out).toContain(provider.issuer)
  for (const text of [out, server.log()]) {
    expect(text).not.toContain(provider.clientSecret)
    expect(text).not.toMatch(/helixflow_refresh=|helixflow_login=|[?&]code=/)
  }
})
