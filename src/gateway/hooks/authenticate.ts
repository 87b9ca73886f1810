import { BlockList, isIPv6 } from 'node:net'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Identity } from '../../contracts/auth.ts'
import { may } from '../../contracts/permissions.ts'
import { HelixError } from '../../core/errors.ts'
import type { CredentialCache } from '../credential-cache.ts'
import type { CredentialAttempts } from '../metrics/credential-attempts.ts'
import type { Access } from './access.ts'

/**
 * Refuses a request whose credential is missing, wrong, comes from the wrong place or may not do what the route does;
 * afterwards `request.identity` is set. A credential that is known costs no promise.
 */
export function authenticate(cache: CredentialCache, attempts: CredentialAttempts) {
  return (request: FastifyRequest, _reply: FastifyReply, done: (error?: Error) => void): void => {
    const { access } = request.routeOptions.config
    let credential: string | undefined
    const refuse = (reason: unknown) => {
      const error = HelixError.from(reason)
      if (credential !== undefined) attempts.presented(credential, error)
      done(error)
    }
    const accept = (identity: Identity) => {
      const problem = addressProblem(identity, request.ip) ?? accessProblem(identity, access)
      if (problem) return refuse(problem)
      if (credential !== undefined) attempts.presented(credential)
      request.identity = identity
      done()
    }
    try {
      credential = presentedCredential(request)
      const identity = cache.identify(credential)
      if (identity instanceof Promise) identity.then(accept, refuse)
      else accept(identity)
    } catch (reason) {
      refuse(reason)
    }
  }
}

/** Who calls, on a route that has authenticated them. */
export function identified({ identity }: FastifyRequest): Identity {
  if (identity) return identity
  throw new HelixError('missing_api_key', 'Send an API key in the header: Authorization: Bearer hf_...')
}

/** An access token with its claims and signature has a few hundred characters. */
const CREDENTIAL_LENGTH_MAX = 8_192

/** @throws HelixError `missing_api_key`, `invalid_api_key` */
export function presentedCredential({
  headers: { authorization },
  credential: offered,
}: FastifyRequest): string {
  if (offered !== undefined) return offered
  const [, credential] = /^Bearer +(\S+) *$/i.exec(authorization ?? '') ?? []
  if (credential !== undefined && credential.length <= CREDENTIAL_LENGTH_MAX) return credential
  if (authorization === undefined) {
    throw new HelixError('missing_api_key', 'Send an API key in the header: Authorization: Bearer hf_...')
  }
  throw new HelixError('invalid_api_key', 'The Authorization header does not hold an API key.')
}

function accessProblem({ rights, projectId }: Identity, access: Access | undefined): HelixError | undefined {
  if (access === 'authenticated' || access === 'public') return undefined
  if (access !== undefined && may(rights, access, projectId)) return undefined
  return new HelixError(
    'insufficient_permissions',
    `This credential does not have the permission '${access}'.`,
  )
}

/** One per identity: it lives as long as the cache's entry. */
const allowed = new WeakMap<Identity, BlockList>()

/** Why it may not be used from that address. */
export function addressProblem(identity: Identity, ip: string): HelixError | undefined {
  if (!identity.ipRules) return undefined
  const list = allowed.get(identity) ?? addressList(identity.ipRules)
  allowed.set(identity, list)
  // A socket that takes both families writes the older one inside the newer.
  const address = ip.replace(/^::ffff:(?=\d+\.)/, '')
  if (list.check(address, isIPv6(address) ? 'ipv6' : 'ipv4')) return undefined
  return new HelixError('ip_not_authorized', 'This credential may not be used from this address.')
}

function addressList(rules: readonly string[]): BlockList {
  const list = new BlockList()
  for (const rule of rules) {
    const [address = '', prefix] = rule.split('/')
    const family = isIPv6(address) ? 'ipv6' : 'ipv4'
    if (prefix === undefined) list.addAddress(address, family)
    else list.addSubnet(address, Number(prefix), family)
  }
  return list
}
