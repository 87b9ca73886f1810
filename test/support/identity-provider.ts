import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import Provider from 'oidc-provider'

export interface Account {
  email?: string
  email_verified?: boolean
  name?: string
  groups?: string[] | string
}

export interface ProviderOptions {
  /** Claims in the id token itself; otherwise only the user info tells them. */
  readonly claimsInToken?: boolean
}

/**
 * A real OpenID Connect provider on a loopback port, with one confidential client that must use PKCE. Whoever comes is
 * logged in as `person` and agrees to everything.
 */
export class IdentityProvider {
  readonly clientId = 'helixflow'
  readonly clientSecret = 'a-client-secret-that-nobody-may-read'
  readonly accounts = new Map<string, Account>()
  person = ''
  refuses = false
  /** What it answers to everything, instead of what it should. */
  outage: { readonly status: number; readonly type: string; readonly body: string } | undefined
  /** Requests for its metadata. */
  discoveries = 0
  private provider: Provider | undefined

  private constructor(
    private readonly server: Server,
    private readonly options: ProviderOptions,
  ) {
    server.on('request', (request, response) => void this.answer(request, response))
  }

  /** It answers 503 until it knows where its client is. */
  static async start(options: ProviderOptions = {}): Promise<IdentityProvider> {
    const server = createServer()
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return new IdentityProvider(server, options)
  }

  get issuer(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`
  }

  register(redirectUri: string): void {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2_048 })
    this.provider = new Provider(this.issuer, {
      clients: [
        {
          client_id: this.clientId,
          client_secret: this.clientSecret,
          redirect_uris: [redirectUri],
          response_types: ['code'],
          grant_types: ['authorization_code'],
        },
      ],
      pkce: { required: () => true },
      claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name', 'groups'] },
      conformIdTokenClaims: this.options.claimsInToken !== true,
      features: { devInteractions: { enabled: false } },
      interactions: { url: (_context: unknown, { uid }: { uid: string }) => `/interaction/${uid}` },
      findAccount: (_context: unknown, accountId: string) => ({
        accountId,
        claims: () => ({ sub: accountId, ...this.accounts.get(accountId) }),
      }),
      cookies: { keys: ['signs the cookies of this test'] },
      jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256', kid: 'test' }] },
      ttl: { Interaction: 600, Session: 600, Grant: 600, AccessToken: 600, IdToken: 600 },
    })
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections()
    this.server.close()
    await once(this.server, 'close')
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.url?.startsWith('/.well-known/')) this.discoveries++
    const { provider, outage } = this
    if (outage)
      return void response.writeHead(outage.status, { 'content-type': outage.type }).end(outage.body)
    if (!provider) return void response.writeHead(503).end()
    if (!request.url?.startsWith('/interaction/')) return provider.callback()(request, response)
    const { prompt, params, session } = await provider.interactionDetails(request, response)
    await provider.interactionFinished(
      request,
      response,
      await this.decision(provider, prompt.name, params, session),
    )
  }

  private async decision(
    provider: Provider,
    prompt: string,
    params: { client_id: string; scope: string },
    session: { accountId: string } | undefined,
  ): Promise<object> {
    if (this.refuses) return { error: 'access_denied', error_description: 'The person said no.' }
    if (prompt === 'login') return { login: { accountId: this.person } }
    const grant = new provider.Grant({ accountId: session?.accountId, clientId: params.client_id })
    grant.addOIDCScope(params.scope)
    return { consent: { grantId: await grant.save() } }
  }
}
