import {
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
} from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { hash } from '@node-rs/argon2'
import { importJWK, jwtVerify } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CredentialFormat } from '../../../src/auth/api-keys.ts'
import { open } from '../../../src/auth/sealed.ts'
import { type RunningAuth, startAuth } from '../../../src/auth/start.ts'
import { callOperation } from '../../../src/contracts/administration/call.ts'
import { DEFAULT_ORGANISATION } from '../../../src/contracts/auth.ts'
import { ManualClock } from '../../../src/core/clock.ts'
import { silentLog } from '../../../src/core/log.ts'
import { CredentialCache } from '../../../src/gateway/credential-cache.ts'
import { type Database, openDatabase } from '../../../src/storage/database.ts'
import type { EmbeddedPostgres } from '../../../src/storage/embedded-postgres.ts'
import { acrossOrganisations } from '../../../src/storage/tenancy.ts'
import { systemClock } from '../../../src/system.ts'
import { authSettings } from '../../support/auth-settings.ts'
import { noKpis } from '../../support/no-kpis.ts'
import { DatabasePlace } from '../storage/database-place.ts'

const limits = { acquireTimeoutMs: 5_000, queryTimeoutMs: 5_000, log: silentLog }
const operator = { actor: 'operator', organisationId: DEFAULT_ORGANISATION } as const
const password = 'correct horse battery staple'

let place: DatabasePlace
let postgres: EmbeddedPostgres
let database: Database
let here: RunningAuth
let there: RunningAuth
/** Set forward by tests: what happens later need not be waited for. */
let aheadMs = 0
const clock = {
  ...systemClock,
  now: () => systemClock.now() + aheadMs,
  monotonic: () => systemClock.monotonic() + aheadMs,
}
beforeAll(async () => {
  place = await DatabasePlace.withDatabase()
  postgres = await place.start()
  database = openDatabase(postgres.connection, { ...limits, clock: systemClock })
  ;[here, there] = await Promise.all([start(), start()])
})
afterAll(async () => {
  await Promise.all([here?.stop(), there?.stop(), database?.close()])
  await postgres?.stop()
  await place?.remove()
})

function start(): Promise<RunningAuth> {
  const pepperFile = join(place.root, 'pepper')
  return startAuth({
    connection: postgres.connection,
    pepperFile,
    config: authSettings,
    usageRetentionMs: 400 * 86_400_000,
    responsesRetentionMs: 30 * 86_400_000,
    kpis: noKpis,
    clock,
    ...limits,
  })
}

let people = 0
async function makeUser(role: 'owner' | 'admin' | 'developer' | 'viewer' = 'developer', secret?: string) {
  const email = `person-${++people}@example.com`
  const input = { email, name: 'Person', role, password: secret ?? password }
  const { id } = await callOperation(here.auth, operator, 'users.create', input)
  return { id, email }
}

async function logIn() {
  const { id, email } = await makeUser()
  const tokens = await here.auth.issueToken({ grantType: 'password', email, password })
  return { id, email, ...tokens, refreshToken: tokens.refreshToken ?? '' }
}

describe('an access token', () => {
  test('from a key may what the key may, and ends with it', async () => {
    const key = await callOperation(here.auth, operator, 'keys.create', { name: 'k', models: ['m'] })
    const { accessToken, refreshToken, expiresInSeconds } = await here.auth.issueToken({
      grantType: 'api_key',
      apiKey: key.plaintext,
    })
    expect([refreshToken, expiresInSeconds]).toEqual([undefined, 600])
    const own = await there.auth.verify(key.plaintext)
    expect(await there.auth.verify(accessToken)).toEqual({ ...own, expiresAtMs: expect.any(Number) })
    await callOperation(here.auth, operator, 'keys.revoke', { id: key.id })
    await expect(there.auth.verify(accessToken)).rejects.toMatchObject({ code: 'api_key_revoked' })
  })

  test('from a login has the rights of now, not those of then', async () => {
    const { id, accessToken } = await logIn()
    const before = await there.auth.verify(accessToken)
    expect(before).toMatchObject({
      actor: `user:${id}`,
      userId: id,
      projectId: 'proj_default',
      keyId: undefined,
    })
    expect(before.rights.organisation).toContain('inference')
    await callOperation(here.auth, operator, 'users.grant', { id, role: 'billing' })
    expect((await there.auth.verify(accessToken)).rights.organisation).not.toContain('inference')
    await callOperation(here.auth, operator, 'users.remove', { id })
    await expect(there.auth.verify(accessToken)).rejects.toMatchObject({ code: 'invalid_token' })
  })

  test('expires, and says so', async () => {
    const { accessToken } = await logIn()
    aheadMs += 606_000
    await expect(here.auth.verify(accessToken)).rejects.toMatchObject({ code: 'token_expired', status: 401 })
  })

  test('can be verified by anybody with the public keys', async () => {
    const { accessToken } = await logIn()
    const { keys } = await there.auth.keySet()
    expect(keys[0]).toMatchObject({
      kty: 'OKP',
      crv: 'Ed25519',
      alg: 'EdDSA',
      use: 'sig',
      kid: expect.any(String),
    })
    expect(JSON.stringify(keys)).not.toContain('"d"')
    const [jwk] = keys as [object]
    const { payload } = await jwtVerify(accessToken, await importJWK(jwk, 'EdDSA'), {
      issuer: 'helixflow',
      audience: 'helixflow',
      currentDate: new Date(clock.now()),
    })
    expect(payload).toMatchObject({ org: DEFAULT_ORGANISATION })
  })
})

describe('a refused token', () => {
  interface Parts {
    header: Record<string, unknown>
    payload: Record<string, unknown>
    key: KeyObject | string
    publicKey: string
  }

  const encode = (value: unknown) =>
    Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')

  function assemble({ header, payload, key }: Parts): string {
    const input = `${encode(header)}.${encode(payload)}`
    return `${input}.${signatureOf(input, header['alg'], key)}`
  }

  function signatureOf(input: string, algorithm: unknown, key: KeyObject | string): string {
    if (typeof key === 'string' || String(algorithm).startsWith('HS'))
      return createHmac('sha256', key as string)
        .update(input)
        .digest('base64url')
    const hash = key.asymmetricKeyType === 'ed25519' ? undefined : 'sha256'
    const dsaEncoding = 'ieee-p1363'
    return sign(hash, Buffer.from(input), { key, dsaEncoding }).toString('base64url')
  }

  /** A good token taken apart, with the very key that signs: only what a case changes can be why it is refused. */
  async function goodParts(): Promise<Parts> {
    const { accessToken } = await logIn()
    const [header = '', payload = ''] = accessToken.split('.')
    const pepper = Buffer.from((await readFile(join(place.root, 'pepper'), 'utf8')).trim(), 'hex')
    const rows = await database.query<{ id: string; sealed_private_jwk: Buffer }>(
      'select * from signing_keys where retired_at is null',
    )
    const [row] = rows
    const jwk = JSON.parse(
      open(pepper, `signing key ${row?.id}`, row?.sealed_private_jwk ?? Buffer.alloc(0)).toString(),
    )
    const key = createPrivateKey({ key: jwk, format: 'jwk' })
    const publicKey = createPublicKey(key).export({ type: 'spki', format: 'pem' }).toString()
    const parse = (part: string) => JSON.parse(Buffer.from(part, 'base64url').toString())
    return { header: parse(header), payload: parse(payload), key, publicKey }
  }

  const rsa = generateKeyPairSync('rsa', { modulusLength: 2_048 })
  const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const stranger = generateKeyPairSync('ed25519')
  const seconds = () => Math.floor(clock.now() / 1_000)
  const headerIs = (change: object) => (parts: Parts) =>
    assemble({ ...parts, header: { ...parts.header, ...change } })
  const payloadIs = (change: object | (() => object)) => (parts: Parts) =>
    assemble({
      ...parts,
      payload: { ...parts.payload, ...(typeof change === 'function' ? change() : change) },
    })
  const without = (part: 'header' | 'payload', name: string) => (parts: Parts) => {
    const { [name]: _, ...rest } = parts[part]
    return assemble({ ...parts, [part]: rest })
  }
  const signedBy = (header: object, key: (parts: Parts) => KeyObject | string) => (parts: Parts) =>
    assemble({ ...parts, header: { ...parts.header, ...header }, key: key(parts) })
  const text = (change: (token: string) => string) => (parts: Parts) => change(assemble(parts))
  const unsigned = (algorithm: string) => (parts: Parts) =>
    `${encode({ ...parts.header, alg: algorithm })}.${encode(parts.payload)}.`

  const CASES: Readonly<Record<string, (parts: Parts) => string>> = {
    'alg none': unsigned('none'),
    'alg None': unsigned('None'),
    'alg NONE': unsigned('NONE'),
    'alg none with a signature': headerIs({ alg: 'none' }),
    'alg empty': headerIs({ alg: '' }),
    'alg missing': without('header', 'alg'),
    'alg a number': headerIs({ alg: 1 }),
    'alg a list': headerIs({ alg: ['EdDSA'] }),
    'alg in another case': headerIs({ alg: 'eddsa' }),
    'HS256 with the public key as the secret': signedBy({ alg: 'HS256' }, ({ publicKey }) => publicKey),
    'HS256 with the public key after a space': signedBy({ alg: 'HS256' }, ({ publicKey }) => ` ${publicKey}`),
    'HS256 with the public key after a line break': signedBy(
      { alg: 'HS256' },
      ({ publicKey }) => `\n${publicKey}`,
    ),
    'HS256 with the public key trimmed': signedBy({ alg: 'HS256' }, ({ publicKey }) => publicKey.trim()),
    'HS256 with an empty secret': signedBy({ alg: 'HS256' }, () => ''),
    'HS256 with the key id': signedBy({ alg: 'HS256' }, ({ header }) => String(header['kid'])),
    HS512: signedBy({ alg: 'HS512' }, () => 'secret'),
    'RS256 of a stranger': signedBy({ alg: 'RS256' }, () => rsa.privateKey),
    'PS256 of a stranger': signedBy({ alg: 'PS256' }, () => rsa.privateKey),
    'ES256 of a stranger': signedBy({ alg: 'ES256' }, () => ec.privateKey),
    'EdDSA of a stranger': signedBy({}, () => stranger.privateKey),
    'kid missing': without('header', 'kid'),
    'kid unknown': headerIs({ kid: 'nobody' }),
    'kid empty': headerIs({ kid: '' }),
    'kid a number': headerIs({ kid: 7 }),
    'kid a path': headerIs({ kid: '../../../../etc/passwd' }),
    'kid /dev/null': headerIs({ kid: '/dev/null' }),
    'kid SQL': headerIs({ kid: `' or '1'='1` }),
    'kid a URL': headerIs({ kid: 'http://127.0.0.1:9/key' }),
    'kid __proto__': headerIs({ kid: '__proto__' }),
    jku: signedBy({ jku: 'http://127.0.0.1:9/jwks.json', kid: 'mine' }, () => stranger.privateKey),
    jwk: signedBy(
      { jwk: stranger.publicKey.export({ format: 'jwk' }), kid: 'mine' },
      () => stranger.privateKey,
    ),
    'jwk beside the right kid': signedBy(
      { jwk: stranger.publicKey.export({ format: 'jwk' }) },
      () => stranger.privateKey,
    ),
    x5u: signedBy({ x5u: 'http://127.0.0.1:9/cert.pem' }, () => stranger.privateKey),
    x5c: signedBy({ x5c: ['MIIB'] }, () => stranger.privateKey),
    'crit unknown': headerIs({ crit: ['exp'], exp: 1 }),
    'crit empty': headerIs({ crit: [] }),
    'crit b64': headerIs({ crit: ['b64'], b64: false }),
    'typ JWT': headerIs({ typ: 'JWT' }),
    'typ missing': without('header', 'typ'),
    'typ of an id token': headerIs({ typ: 'id+jwt' }),
    'iss another': payloadIs({ iss: 'https://elsewhere.example' }),
    'iss missing': without('payload', 'iss'),
    'iss a list': payloadIs({ iss: ['helixflow'] }),
    'aud another': payloadIs({ aud: 'somebody-else' }),
    'aud missing': without('payload', 'aud'),
    'exp missing': without('payload', 'exp'),
    'exp past': payloadIs(() => ({ exp: seconds() - 60 })),
    'exp a text': payloadIs({ exp: '9999999999' }),
    'exp null': payloadIs({ exp: null }),
    'nbf in the future': payloadIs(() => ({ nbf: seconds() + 600 })),
    'nbf missing': without('payload', 'nbf'),
    'iat missing': without('payload', 'iat'),
    'jti missing': without('payload', 'jti'),
    'sub missing': without('payload', 'sub'),
    'sub a number': payloadIs({ sub: 1 }),
    'org missing': without('payload', 'org'),
    'session of nobody': payloadIs({ sid: 'AAAAAAAAAAAAAAAA' }),
    'session and key': payloadIs({ key: 'AAAAAAAAAAAAAAAA' }),
    'neither session nor key': without('payload', 'sid'),
    'payload not an object': (parts) => {
      const input = `${encode(parts.header)}.${encode('[1]')}`
      return `${input}.${signatureOf(input, 'EdDSA', parts.key)}`
    },
    'payload not JSON': (parts) => {
      const input = `${encode(parts.header)}.${encode('{"sub":')}`
      return `${input}.${signatureOf(input, 'EdDSA', parts.key)}`
    },
    'payload of another token': (parts) => {
      const [header = '', , signature = ''] = assemble(parts).split('.')
      return `${header}.${encode({ ...parts.payload, org: 'org_other' })}.${signature}`
    },
    'signature cut': text((token) => token.slice(0, -4)),
    'signature changed': text(
      (token) => token.slice(0, -10) + (token.at(-10) === 'A' ? 'B' : 'A') + token.slice(-9),
    ),
    'signature empty': text((token) => token.replace(/[^.]*$/, '')),
    'two parts': text((token) => token.split('.').slice(0, 2).join('.')),
    'four parts': text((token) => `${token}.x`),
    'a dot at the end': text((token) => `${token}.`),
    'detached payload': text((token) => token.replace(/\.[^.]*\./, '..')),
    'a JWE': () => `${encode({ alg: 'dir', enc: 'A256GCM' })}..AAAA.AAAA.AAAA`,
    'standard base64': text((token) => `${token.replaceAll('-', '+').replaceAll('_', '/')}=`),
    'ten megabytes': (parts) => `${encode({ ...parts.header, x: 'x'.repeat(10_000_000) })}.e30.AA`,
    'a line break inside': text((token) => token.replace('.', '.\n')),
  }

  test.each(Object.entries(CASES))('%s', async (_name, make) => {
    const parts = await goodParts()
    // The parts themselves are good: what is refused is refused for the change.
    await expect(here.auth.verify(assemble(parts))).resolves.toMatchObject({
      organisationId: DEFAULT_ORGANISATION,
    })
    const token = make(parts)
    expect(token).not.toBe(assemble(parts))
    const error = await here.auth.verify(token).catch((reason: unknown) => reason)
    expect(error).toMatchObject({ status: 401 })
    expect(String((error as Error).message)).not.toContain('etc/passwd')
  })

  test('the table is as long as promised', () => {
    expect(Object.keys(CASES).length).toBeGreaterThanOrEqual(60)
  })
})

test('two tokens that are equal for hundreds of characters are two in the cache', async () => {
  const cache = new CredentialCache({
    auth: here.auth,
    clock: new ManualClock(),
    entriesMax: 100,
    ttlMs: 60_000,
    graceMs: 0,
  })
  const people = [await logIn(), await logIn()]
  for (let round = 0; round < 50; round++) {
    for (const { id, accessToken } of people)
      expect(await cache.identify(accessToken)).toMatchObject({ userId: id })
  }
  const [token = ''] = people.map(({ accessToken }) => accessToken)
  const forged = token.slice(0, -10) + (token.at(-10) === 'A' ? 'B' : 'A') + token.slice(-9)
  expect(forged.slice(0, 300)).toBe(token.slice(0, 300))
  await expect(async () => cache.identify(forged)).rejects.toMatchObject({ code: 'invalid_token' })
  cache.stop()
})

describe('a login with a password', () => {
  test('tells nothing about why it fails', async () => {
    const { email } = await makeUser()
    const refusals = await Promise.all(
      [
        { email, password: 'wrong' },
        { email: 'nobody@example.com', password },
        { email, password, organisationId: 'org_none' },
      ].map((one) =>
        here.auth.issueToken({ grantType: 'password', ...one }).catch((error: unknown) => error),
      ),
    )
    for (const refusal of refusals) expect(refusal).toMatchObject({ code: 'invalid_grant', status: 401 })
    expect(new Set(refusals.map(String)).size).toBe(1)
    await expect(
      here.auth.issueToken({ grantType: 'password', email: email.toUpperCase(), password }),
    ).resolves.toMatchObject({ refreshToken: expect.stringMatching(/^hf_refresh_/) })
  })

  test('is slowed down after failures, for who exists as for who does not', async () => {
    const { email } = await makeUser()
    for (const name of [email, 'unknown@example.com']) {
      const attempt = (secret: string) =>
        here.auth.issueToken({ grantType: 'password', email: name, password: secret })
      for (let failure = 0; failure < 5; failure++)
        await expect(attempt('wrong')).rejects.toMatchObject({ code: 'invalid_grant' })
      await expect(attempt(password)).rejects.toMatchObject({ code: 'too_many_attempts', status: 429 })
      // After the wait there is one attempt, not one for each that asks at the same time.
      aheadMs += 2_000
      const together = await Promise.allSettled(Array.from({ length: 6 }, () => attempt('wrong')))
      const codes = together.map((one) => (one.status === 'rejected' ? one.reason.code : 'done'))
      expect(codes.filter((code) => code === 'invalid_grant')).toHaveLength(1)
    }
    aheadMs += 20_000
    await expect(here.auth.issueToken({ grantType: 'password', email, password })).resolves.toBeDefined()
  })

  test('asks which organisation is meant only when it must, and only who knows the password', async () => {
    const { id, email } = await makeUser()
    const other = await callOperation(here.auth, operator, 'organisations.create', { name: 'Second' })
    const there = { actor: 'operator', organisationId: other.id } as const
    const again = await callOperation(here.auth, there, 'users.create', {
      email,
      name: 'Same',
      role: 'viewer',
    })
    expect(again.id).toBe(id)
    const ask = (organisationId?: string) =>
      here.auth.issueToken({ grantType: 'password', email, password, organisationId })
    await expect(ask()).rejects.toMatchObject({
      param: 'organisation_id',
      message: expect.stringContaining(other.id),
    })
    const { accessToken } = await ask(other.id)
    expect((await here.auth.verify(accessToken)).organisationId).toBe(other.id)
  })

  test('renews a hash that was made with weaker parameters', async () => {
    const { id, email } = await makeUser()
    const older = await hash(password, { memoryCost: 8_192, timeCost: 1, parallelism: 1 })
    const stored = async () => {
      const read = 'select password_hash as hash from users where id = $1'
      const rows = await acrossOrganisations(database, (queries) =>
        queries.query<{ hash: string }>(read, [id]),
      )
      return rows[0]?.hash
    }
    await acrossOrganisations(database, (queries) =>
      queries.query('update users set password_hash = $2 where id = $1', [id, older]),
    )
    await here.auth.issueToken({ grantType: 'password', email, password })
    expect(await stored()).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/)
  })
})

describe('a refresh token', () => {
  const renew = (refreshToken: string) => there.auth.issueToken({ grantType: 'refresh_token', refreshToken })

  test('is good once; when it comes again, the whole session ends everywhere', async () => {
    const { refreshToken, accessToken } = await logIn()
    const second = await renew(refreshToken)
    expect(second.refreshToken).not.toBe(refreshToken)
    await expect(here.auth.verify(second.accessToken)).resolves.toBeDefined()
    const heard: (string | undefined)[] = []
    const end = here.auth.watchRevocations((subject) => heard.push(subject))
    await expect(renew(refreshToken)).rejects.toMatchObject({ code: 'invalid_grant' })
    await expect(renew(second.refreshToken ?? '')).rejects.toMatchObject({ code: 'invalid_grant' })
    for (const token of [accessToken, second.accessToken])
      await expect(here.auth.verify(token)).rejects.toMatchObject({ code: 'invalid_token' })
    await expect.poll(() => heard, { timeout: 1_000 }).toHaveLength(1)
    end()
  })

  test('used by two at the same time is good for one', async () => {
    const { refreshToken } = await logIn()
    const results = await Promise.allSettled([renew(refreshToken), renew(refreshToken)])
    expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
  })

  test('ends with its session, and with the roles of its person', async () => {
    const first = await logIn()
    await callOperation(here.auth, operator, 'users.end_sessions', { id: first.id })
    await expect(renew(first.refreshToken)).rejects.toMatchObject({ code: 'invalid_grant' })
    const second = await logIn()
    aheadMs += authSettings.sessionTtl + 1_000
    await expect(renew(second.refreshToken)).rejects.toMatchObject({ code: 'invalid_grant' })
  })

  test('that is malformed or forged is refused', async () => {
    const { refreshToken } = await logIn()
    const forged = refreshToken.replace(/_[0-9A-Za-z]{43}_/, `_${'x'.repeat(43)}_`)
    // With a right checksum too: the id of a session stands in every access token.
    const wellFormed = new CredentialFormat('hf_refresh').format(
      refreshToken.split('_')[2] ?? '',
      'x'.repeat(43),
    )
    for (const bad of ['', 'x', forged, wellFormed, `${refreshToken}x`, refreshToken.slice(0, -1)])
      await expect(renew(bad)).rejects.toMatchObject({ code: 'invalid_grant' })
    // None of them was taken for a theft.
    await expect(renew(refreshToken)).resolves.toBeDefined()
  })

  test('is nowhere in the database', async () => {
    const { refreshToken } = await logIn()
    const rows = await acrossOrganisations(database, (queries) =>
      queries.query<{ text: string }>('select row_to_json(sessions)::text as text from sessions'),
    )
    const everything = rows.map(({ text }) => text).join()
    expect(everything).toContain(refreshToken.split('_')[2])
    expect(everything).not.toContain(refreshToken.split('_')[3])
    expect(everything).not.toContain(createHash('sha256').update(refreshToken).digest('hex'))
  })
})

describe('the keys that sign', () => {
  test('are the same on two machines that begin at the same moment', async () => {
    const [first, second] = await Promise.all([here.auth.keySet(), there.auth.keySet()])
    expect(first).toEqual(second)
  })

  test('are rotated: the new one signs at once everywhere, the old one verifies until its tokens are gone', async () => {
    const before = await logIn()
    await here.auth.rotateSigningKeys()
    const after = await logIn()
    const kid = (token: string) =>
      JSON.parse(Buffer.from(token.split('.')[0] ?? '', 'base64url').toString()).kid
    expect(kid(after.accessToken)).not.toBe(kid(before.accessToken))
    for (const { accessToken } of [before, after])
      await expect(there.auth.verify(accessToken)).resolves.toBeDefined()
    expect((await there.auth.keySet()).keys).toHaveLength(2)
    // The other machine signs with the new one soon, and what it signed meanwhile stays good to its end.
    const { email } = await makeUser()
    const log = () => there.auth.issueToken({ grantType: 'password', email, password })
    const { accessToken: meanwhile } = await log()
    aheadMs += 31_000
    expect(kid((await log()).accessToken)).toBe(kid(after.accessToken))
    aheadMs += authSettings.accessTokenTtl - 31_000 - 5_000
    await expect(here.auth.verify(meanwhile)).resolves.toBeDefined()
    aheadMs += 60_000
    expect((await there.auth.keySet()).keys).toHaveLength(1)
  })

  test('are ours alone: a public key that somebody wrote into the table verifies nothing', async () => {
    const { accessToken } = await logIn()
    const { publicKey, privateKey } = generateKeyPairSync('ed25519')
    await database.query(
      `insert into signing_keys (id, public_jwk, sealed_private_jwk, created_at, retired_at)
       select 'planted', $1, sealed_private_jwk, created_at, $2 from signing_keys limit 1`,
      [JSON.stringify(publicKey.export({ format: 'jwk' })), new Date(clock.now())],
    )
    const [, payload = ''] = accessToken.split('.')
    const header = Buffer.from(JSON.stringify({ alg: 'EdDSA', typ: 'at+jwt', kid: 'planted' })).toString(
      'base64url',
    )
    const signature = sign(undefined, Buffer.from(`${header}.${payload}`), privateKey).toString('base64url')
    aheadMs += 2_000
    const forged = here.auth.verify(`${header}.${payload}.${signature}`)
    await expect(forged).rejects.toMatchObject({ code: 'invalid_token' })
    expect(JSON.stringify(await here.auth.keySet())).not.toContain('planted')
    await database.query(`delete from signing_keys where id = 'planted'`)
  })
})
