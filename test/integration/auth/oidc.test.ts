import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { admit } from '../../../src/auth/provider-user.ts'
import { type RunningAuth, startAuth } from '../../../src/auth/start.ts'
import { parseConfig } from '../../../src/config/schema.ts'
import { callOperation } from '../../../src/contracts/administration/call.ts'
import { DEFAULT_ORGANISATION, DEFAULT_PROJECT } from '../../../src/contracts/auth.ts'
import { type LogFields, type Logger, silentLog } from '../../../src/core/log.ts'
import { searchAudit, verifyAudit } from '../../../src/storage/audit.ts'
import { type Database, openDatabase } from '../../../src/storage/database.ts'
import type { EmbeddedPostgres } from '../../../src/storage/embedded-postgres.ts'
import { acrossOrganisations } from '../../../src/storage/tenancy.ts'
import { systemClock } from '../../../src/system.ts'
import { Browser } from '../../support/browser.ts'
import { type Account, IdentityProvider } from '../../support/identity-provider.ts'
import { noKpis } from '../../support/no-kpis.ts'
import { DatabasePlace } from '../storage/database-place.ts'

const limits = { acquireTimeoutMs: 5_000, queryTimeoutMs: 5_000 }
const operator = { actor: 'operator', organisationId: DEFAULT_ORGANISATION } as const
const redirectUri = 'http://127.0.0.1:8443/auth/v1/oidc/callback'
const roles = {
  staff: { role: 'developer' },
  watchers: { role: 'viewer' },
  leads: { role: 'admin' },
  guests: { role: 'developer', project: DEFAULT_PROJECT },
  lost: { role: 'developer', project: 'proj_nowhere' },
}

let place: DatabasePlace
let postgres: EmbeddedPostgres
let database: Database
let provider: IdentityProvider
let running: RunningAuth
/** Set forward by tests: what happens later need not be waited for. */
let aheadMs = 0
const clock = {
  ...systemClock,
  now: () => systemClock.now() + aheadMs,
  monotonic: () => systemClock.monotonic() + aheadMs,
}
const lines: string[] = []
const log: Logger = { ...silentLog, warn: note, error: note, info: note, debug: note, with: () => log }
function note(event: string, fields?: LogFields): void {
  lines.push(JSON.stringify([event, fields]))
}

beforeAll(async () => {
  ;[place, provider] = await Promise.all([DatabasePlace.withDatabase(), IdentityProvider.start()])
  postgres = await place.start()
  database = openDatabase(postgres.connection, { ...limits, log, clock: systemClock })
  provider.register(redirectUri)
  running = await start()
})
afterAll(async () => {
  await Promise.all([running?.stop(), database?.close()])
  await postgres?.stop()
  await Promise.all([provider?.stop(), place?.remove()])
})
beforeEach(() => {
  provider.refuses = false
  provider.outage = undefined
})

function settings() {
  const { issuer, clientId, clientSecret } = provider
  return { issuer, clientId, clientSecret }
}

const usageRetentionMs = 400 * 86_400_000

function start(change: object = {}): Promise<RunningAuth> {
  const oidc = { ...settings(), roles, ...change }
  const pepperFile = join(place.root, 'pepper')
  const config = parseConfig({ auth: { oidc } }).auth
  return startAuth({
    connection: postgres.connection,
    pepperFile,
    config,
    usageRetentionMs,
    responsesRetentionMs: 30 * 86_400_000,
    kpis: noKpis,
    clock,
    log,
    ...limits,
  })
}

let people = 0
/** Somebody new at the provider. */
function makePerson(account: Account = {}): { subject: string; email: string; account: Account } {
  const number = ++people
  const email = account.email ?? `somebody-${number}@example.com`
  const complete = { email_verified: true, name: 'Some Body', groups: ['staff'], ...account, email }
  const subject = `subject-${number}`
  provider.accounts.set(subject, complete)
  return { subject, email, account: complete }
}

/** As far as the provider's answer, which a browser would bring. */
async function answerFor(subject: string, change: (url: URL) => void = () => {}) {
  provider.person = subject
  const { url, state } = await running.auth.startLogin({ redirectUri, returnTo: '/docs' })
  const changed = new URL(url)
  change(changed)
  return { callbackUrl: await new Browser().follow(changed.href, redirectUri), state, url }
}

async function logIn(subject: string) {
  const tokens = await running.auth.finishLogin(await answerFor(subject))
  const identity = await running.auth.verify(tokens.accessToken)
  return { ...tokens, identity, userId: identity.userId ?? '' }
}

function showUser(id: string) {
  return callOperation(running.auth, operator, 'users.show', { id })
}

async function usersWith(email: string) {
  return (await callOperation(running.auth, operator, 'users.list', { email })).data
}

function loginsOf(userId: string) {
  const filter = { organisationId: DEFAULT_ORGANISATION, actor: `user:${userId}`, limit: 10 }
  return acrossOrganisations(database, (queries) => searchAudit(queries, filter))
}

function sql(text: string, values: readonly unknown[]) {
  return acrossOrganisations(database, (queries) => queries.query(text, values))
}

const refused = (text: RegExp) => ({ code: 'invalid_grant', publicMessage: expect.stringMatching(text) })

describe('a login', () => {
  test('for the first time makes the user with the roles of their groups, and is in the audit log', async () => {
    const { subject, email } = makePerson({ groups: ['staff', 'unheard-of'] })
    const { userId, identity, returnTo, refreshToken } = await logIn(subject)
    expect([returnTo, typeof refreshToken]).toEqual(['/docs', 'string'])
    expect(identity.rights.organisation).toContain('inference')
    expect(identity.rights.organisation).not.toContain('members.write')
    expect(await showUser(userId)).toMatchObject({ email, name: 'Some Body', roles: [{ role: 'developer' }] })
    const [entry, ...others] = await loginsOf(userId)
    expect(entry).toMatchObject({ action: 'users.login', target: userId })
    expect(entry?.details).toMatchObject({ account: 'made', admitted: true, gained: [{ role: 'developer' }] })
    expect(others).toEqual([])
    const report = await acrossOrganisations(database, (queries) =>
      verifyAudit(queries, DEFAULT_ORGANISATION),
    )
    expect(report.problem).toBeUndefined()
  })

  test('begun at one machine may end at another', async () => {
    const elsewhere = await start()
    try {
      const { subject, email } = makePerson()
      await elsewhere.auth.finishLogin(await answerFor(subject))
      expect(await usersWith(email)).toHaveLength(1)
    } finally {
      await elsewhere.stop()
    }
  })

  test('for the second time is the same user, whatever their address is by then', async () => {
    const { subject, account } = makePerson()
    const first = await logIn(subject)
    account.email = 'renamed@example.com'
    account.email_verified = false
    const second = await logIn(subject)
    expect(second.userId).toBe(first.userId)
    const [entry] = await loginsOf(first.userId)
    expect(entry?.details).toMatchObject({ account: 'known', gained: [], lost: [] })
  })

  test('in several browsers at once makes one user', async () => {
    const { oidc: config } = parseConfig({ auth: { oidc: { ...settings(), roles } } }).auth
    if (!config) return expect.unreachable()
    const person = {
      issuer: provider.issuer,
      subject: 'everywhere',
      email: 'everywhere@example.com',
      emailVerified: true,
      name: undefined,
      groups: ['staff'],
    }
    const ids = await Promise.all(
      Array.from({ length: 8 }, () => admit({ database, config, log, nowMs: clock.now() }, person)),
    )
    expect(new Set(ids).size).toBe(1)
    expect(await usersWith(person.email)).toMatchObject([{ id: ids[0] }])
    expect(await loginsOf(ids[0] ?? '')).toHaveLength(8)
  })

  test('gives the highest of several roles in a place, and roles in single projects', async () => {
    const { subject } = makePerson({ groups: ['watchers', 'leads', 'staff', 'guests'] })
    const { userId } = await logIn(subject)
    expect((await showUser(userId)).roles).toEqual([
      { role: 'admin' },
      { role: 'developer', projectId: DEFAULT_PROJECT },
    ])
  })

  test('takes claims from the id token where the provider puts them there', async () => {
    const other = await IdentityProvider.start({ claimsInToken: true })
    const elsewhere = await start({ issuer: other.issuer })
    try {
      other.register(redirectUri)
      other.accounts.set('someone', { email: 'token@example.com', email_verified: true, groups: 'staff' })
      other.person = 'someone'
      const { url, state } = await elsewhere.auth.startLogin({ redirectUri, returnTo: '' })
      const callbackUrl = await new Browser().follow(url, redirectUri)
      await elsewhere.auth.finishLogin({ callbackUrl, state })
      expect(await usersWith('token@example.com')).toMatchObject([
        { name: 'token@example.com', roles: [{ role: 'developer' }] },
      ])
    } finally {
      await Promise.all([elsewhere.stop(), other.stop()])
    }
  })
})

describe('a role from a group', () => {
  test('is lost with the group, and so is what was open', async () => {
    const { subject, account } = makePerson()
    const { userId, accessToken, refreshToken } = await logIn(subject)
    const ended = new Promise<string | undefined>((resolve) => {
      const unwatch = running.auth.watchRevocations((id) => {
        if (id !== userId) return
        unwatch()
        resolve(id)
      })
    })
    account.groups = []
    await expect(logIn(subject)).rejects.toMatchObject(refused(/None of your groups/))
    expect(await ended).toBe(userId)
    await expect(running.auth.verify(accessToken)).rejects.toMatchObject({ code: 'invalid_token' })
    const again = { grantType: 'refresh_token', refreshToken: refreshToken ?? '' } as const
    await expect(running.auth.issueToken(again)).rejects.toMatchObject({ code: 'invalid_grant' })
    const [entry] = await loginsOf(userId)
    expect(entry?.details).toMatchObject({ admitted: false, lost: [{ role: 'developer' }] })
  })

  test('is exchanged when the groups change', async () => {
    const { subject, account } = makePerson({ groups: ['leads', 'guests'] })
    const { userId, accessToken } = await logIn(subject)
    account.groups = ['watchers']
    await logIn(subject)
    expect((await showUser(userId)).roles).toEqual([{ role: 'viewer' }])
    const { rights } = await running.auth.verify(accessToken)
    expect([rights.organisation.includes('members.write'), rights.projects]).toEqual([false, {}])
  })

  test('leaves alone what was given by hand, also in the same place', async () => {
    const { subject, account } = makePerson({ groups: ['watchers', 'guests'] })
    const { userId } = await logIn(subject)
    await callOperation(running.auth, operator, 'users.grant', { id: userId, role: 'billing' })
    account.groups = ['leads']
    await logIn(subject)
    expect((await showUser(userId)).roles).toEqual([{ role: 'billing' }])
    account.groups = []
    await logIn(subject)
    expect((await showUser(userId)).roles).toEqual([{ role: 'billing' }])
  })

  test.each([
    ['no group', []],
    ['groups that mean nothing here', ['elsewhere', '']],
    ['names that every object has', ['__proto__', 'constructor', 'toString']],
    ['a group for a project that is not there', ['lost']],
    ['something else than a list', { staff: true } as unknown as string[]],
  ])('is needed: %s makes no user', async (_name, groups) => {
    const { subject, email } = makePerson({ groups })
    await expect(logIn(subject)).rejects.toMatchObject(refused(/None of your groups/))
    expect(await sql('select id from users where email = $1', [email])).toEqual([])
  })
})

describe('an account that is there already', () => {
  async function makeUser(email: string) {
    return callOperation(running.auth, operator, 'users.create', { email, name: 'Before', role: 'viewer' })
  }

  test('is linked by a verified address, in any case of letters', async () => {
    const { subject, email, account } = makePerson({ groups: [] })
    const { id } = await makeUser(email)
    account.email = email.toUpperCase()
    expect((await logIn(subject)).userId).toBe(id)
    account.email = 'gone@example.com'
    expect((await logIn(subject)).userId).toBe(id)
    expect((await showUser(id)).roles).toEqual([{ role: 'viewer' }])
  })

  test.each([[false], ['true' as unknown as boolean], [undefined]])(
    'is not taken over by an address that is not verified: %s',
    async (email_verified) => {
      const { subject, email, account } = makePerson({ groups: ['leads'] })
      const { id } = await makeUser(email)
      if (email_verified === undefined) delete account.email_verified
      else account.email_verified = email_verified
      await expect(logIn(subject)).rejects.toMatchObject(refused(/has not verified/))
      expect((await showUser(id)).roles).toEqual([{ role: 'viewer' }])
      expect(await sql('select * from external_identities where user_id = $1', [id])).toEqual([])
    },
  )

  test('does not go to whoever has its address at the provider later', async () => {
    const { subject, email } = makePerson()
    await logIn(subject)
    const successor = makePerson({ email })
    await expect(logIn(successor.subject)).rejects.toMatchObject(refused(/belongs to another login/))
  })

  test.each([
    ['known', true],
    ['to be linked', false],
  ])('that is disabled does not come in: %s', async (_name, known) => {
    const { subject, email } = makePerson()
    const id = known ? (await logIn(subject)).userId : (await makeUser(email)).id
    await sql('update users set disabled_at = now() where id = $1', [id])
    await expect(logIn(subject)).rejects.toMatchObject(refused(/disabled/))
  })

  test('is needed where no verified address is told', async () => {
    const { subject } = makePerson({ email_verified: false })
    await expect(logIn(subject)).rejects.toMatchObject(refused(/must tell your e-mail address/))
    const nameless = makePerson()
    delete nameless.account.email
    await expect(logIn(nameless.subject)).rejects.toMatchObject(refused(/must tell your e-mail address/))
  })
})

describe('an answer that is not the one to this login', () => {
  const altered = (url: string, change: (query: URLSearchParams) => void) => {
    const changed = new URL(url)
    change(changed.searchParams)
    return changed.href
  }

  test('is refused: another state, none, or two', async () => {
    const { callbackUrl, state } = await answerFor(makePerson().subject)
    for (const change of [
      (query: URLSearchParams) => query.set('state', 'another'),
      (query: URLSearchParams) => query.delete('state'),
      (query: URLSearchParams) => query.append('state', 'another'),
    ]) {
      const answer = { callbackUrl: altered(callbackUrl, change), state }
      await expect(running.auth.finishLogin(answer)).rejects.toMatchObject(refused(/another login/))
    }
    // None of these has spent it.
    await running.auth.finishLogin({ callbackUrl, state })
  })

  test('is refused: the state of another browser', async () => {
    const mine = await answerFor(makePerson().subject)
    const theirs = await answerFor(makePerson().subject)
    const answer = { callbackUrl: theirs.callbackUrl, state: mine.state }
    await expect(running.auth.finishLogin(answer)).rejects.toMatchObject(refused(/another login/))
  })

  test('is refused: the code of another login, by its code verifier', async () => {
    const mine = await answerFor(makePerson().subject)
    const theirs = await answerFor(makePerson().subject)
    const code = new URL(theirs.callbackUrl).searchParams.get('code') ?? ''
    const callbackUrl = altered(mine.callbackUrl, (query) => query.set('code', code))
    await expect(running.auth.finishLogin({ ...mine, callbackUrl })).rejects.toMatchObject(
      refused(/know this/),
    )
  })

  test('is refused: a token with another nonce', async () => {
    const { subject, email } = makePerson()
    const answer = await answerFor(subject, (url) => url.searchParams.set('nonce', 'another'))
    await expect(running.auth.finishLogin(answer)).rejects.toMatchObject(refused(/know this login/))
    expect(await usersWith(email)).toEqual([])
  })

  test('is refused: another issuer', async () => {
    const { callbackUrl, state } = await answerFor(makePerson().subject)
    const changed = altered(callbackUrl, (query) => query.set('iss', 'https://elsewhere.example'))
    const act = running.auth.finishLogin({ callbackUrl: changed, state })
    await expect(act).rejects.toMatchObject(refused(/another identity provider/))
  })

  test('is good once', async () => {
    const answer = await answerFor(makePerson().subject)
    await running.auth.finishLogin(answer)
    await expect(running.auth.finishLogin(answer)).rejects.toMatchObject(refused(/know this login/))
  })

  test('is refused after ten minutes', async () => {
    const answer = await answerFor(makePerson().subject)
    aheadMs += 600_000
    await expect(running.auth.finishLogin(answer)).rejects.toMatchObject(refused(/ten minutes/))
    aheadMs -= 600_000
    await running.auth.finishLogin(answer)
  })

  test('is refused when the person or the provider said no', async () => {
    provider.refuses = true
    const answer = await answerFor(makePerson().subject)
    expect(answer.callbackUrl).toContain('error=access_denied')
    await expect(running.auth.finishLogin(answer)).rejects.toMatchObject(refused(/: access_denied\./))
  })

  test.each([
    ['nothing', () => ''],
    ['text', () => 'state'],
    ['a changed one', (state: string) => (state.startsWith('A') ? 'B' : 'A') + state.slice(1)],
    ['a shortened one', (state: string) => state.slice(0, 20)],
  ])('is refused with a cookie that holds %s', async (_name, change) => {
    const { callbackUrl, state } = await answerFor(makePerson().subject)
    const act = running.auth.finishLogin({ callbackUrl, state: change(state) })
    await expect(act).rejects.toMatchObject(refused(/not begun here/))
  })
})

describe('what leaves the server', () => {
  test('asks with PKCE, state and nonce, and the provider refuses without PKCE', async () => {
    const { url } = await answerFor(makePerson().subject)
    const query = new URL(url).searchParams
    expect(Object.fromEntries(query)).toMatchObject({
      response_type: 'code',
      scope: 'openid email profile',
      code_challenge_method: 'S256',
      redirect_uri: redirectUri,
    })
    for (const name of ['code_challenge', 'state', 'nonce']) expect(query.get(name)).toMatch(/^[\w-]{43}$/)
    const next = new URL((await answerFor(makePerson().subject)).url).searchParams
    for (const name of ['code_challenge', 'state', 'nonce']) expect(next.get(name)).not.toBe(query.get(name))
    const without = await answerFor(makePerson().subject, (changed) => {
      changed.searchParams.delete('code_challenge')
      changed.searchParams.delete('code_challenge_method')
    })
    expect(without.callbackUrl).toContain('error=invalid_request')
  })

  test('is sealed: the cookie shows nothing, and never the same', async () => {
    const { url, state } = await answerFor(makePerson().subject)
    const bytes = Buffer.from(state, 'base64url')
    const { searchParams } = new URL(url)
    for (const text of [searchParams.get('state'), searchParams.get('nonce'), 'codeVerifier', '127.0.0.1'])
      expect(bytes.includes(text ?? '')).toBe(false)
    expect(state).toMatch(/^[\w-]+$/)
    expect((await answerFor(makePerson().subject)).state.slice(0, 40)).not.toBe(state.slice(0, 40))
  })

  test('fits into a cookie, or is refused', async () => {
    const long = `/${'x'.repeat(4_000)}`
    await expect(running.auth.startLogin({ redirectUri, returnTo: long })).rejects.toMatchObject({
      code: 'invalid_value',
      param: 'return_to',
    })
  })

  test('are logs without secrets', async () => {
    const wrong = await start({ clientSecret: 'a-wrong-secret' })
    try {
      const answer = await answerFor(makePerson().subject)
      lines.length = 0
      await expect(wrong.auth.finishLogin(answer)).rejects.toMatchObject({ code: 'upstream_unavailable' })
      const { searchParams } = new URL(answer.callbackUrl)
      expect(lines.join('\n')).toContain('identity provider')
      for (const secret of [
        'a-wrong-secret',
        searchParams.get('code'),
        searchParams.get('state'),
        answer.state,
      ])
        expect(lines.join('\n')).not.toContain(secret)
    } finally {
      await wrong.stop()
    }
  })
})

describe('a provider', () => {
  const request = { redirectUri, returnTo: '' }

  test('that cannot be reached, or talks nonsense, is asked again at the next login', async () => {
    const other = await IdentityProvider.start()
    const elsewhere = await start({ issuer: other.issuer })
    try {
      const act = () => elsewhere.auth.startLogin(request)
      await expect(act()).rejects.toMatchObject({ code: 'upstream_unavailable' })
      other.register(redirectUri)
      await act()
      expect(other.discoveries).toBe(2)
      await act()
      expect(other.discoveries).toBe(2)
      aheadMs += 3_600_000
      await act()
      expect(other.discoveries).toBe(3)
      await other.stop()
      aheadMs += 3_600_000
      await expect(act()).rejects.toMatchObject({ code: 'upstream_unavailable' })
    } finally {
      await elsewhere.stop()
    }
  })

  test.each([
    ['an error', { status: 500, type: 'text/plain', body: 'no' }],
    ['a page', { status: 200, type: 'text/html', body: '<html>Log in to the hotel</html>' }],
    ['no JSON', { status: 200, type: 'application/json', body: '{' }],
    ['other JSON', { status: 200, type: 'application/json', body: '{"issuer":1,"access_token":{}}' }],
    ['a list', { status: 200, type: 'application/json', body: '[]' }],
    [
      'tokens without an id token',
      { status: 200, type: 'application/json', body: '{"access_token":"a","token_type":"bearer"}' },
    ],
    [
      'an id token that is none',
      {
        status: 200,
        type: 'application/json',
        body: '{"access_token":"a","token_type":"bearer","id_token":"a.b.c"}',
      },
    ],
  ])('that answers with %s is unavailable, at the beginning and at the end', async (_name, outage) => {
    const answer = await answerFor(makePerson().subject)
    const elsewhere = await start()
    try {
      provider.outage = outage
      const unavailable = { code: 'upstream_unavailable' }
      await expect(elsewhere.auth.startLogin(request)).rejects.toMatchObject(unavailable)
      await expect(running.auth.finishLogin(answer)).rejects.toMatchObject(unavailable)
    } finally {
      await elsewhere.stop()
    }
  })

  test('that calls itself otherwise is not believed', async () => {
    const elsewhere = await start({ issuer: provider.issuer.replace('127.0.0.1', 'localhost') })
    try {
      await expect(elsewhere.auth.startLogin(request)).rejects.toMatchObject({ code: 'upstream_unavailable' })
    } finally {
      await elsewhere.stop()
    }
  })

  test('that is not set up is said so', async () => {
    const pepperFile = join(place.root, 'pepper')
    const config = parseConfig({}).auth
    const none = await startAuth({
      connection: postgres.connection,
      pepperFile,
      config,
      usageRetentionMs,
      responsesRetentionMs: 30 * 86_400_000,
      kpis: noKpis,
      clock,
      log,
      ...limits,
    })
    try {
      await expect(none.auth.startLogin(request)).rejects.toMatchObject({ code: 'not_implemented' })
    } finally {
      await none.stop()
    }
  })

  test('for an organisation that is not there is a mistake of the operator', async () => {
    const elsewhere = await start({ organisation: 'org_nowhere' })
    try {
      const answer = await answerFor(makePerson().subject)
      await expect(elsewhere.auth.finishLogin(answer)).rejects.toMatchObject({
        code: 'invalid_configuration',
      })
    } finally {
      await elsewhere.stop()
    }
  })
})
