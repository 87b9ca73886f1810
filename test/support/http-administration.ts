import { helixflow } from './helixflow.ts'
import type { Server } from './server.ts'

export interface AdministrationAnswer {
  readonly status: number
  /** Of the failure, where it is one. */
  readonly code: string | undefined
  readonly body: {
    readonly id?: string
    readonly plaintext?: string
    readonly expiresAt?: string
    readonly data?: readonly { readonly id: string }[]
  }
}

/** A key that makes, shows and rotates keys, and may ask models too. */
export async function administratorKey(server: Server): Promise<string> {
  const scopes = 'keys.read,keys.write,service_accounts.write,inference'
  const { out } = await helixflow(server, 'keys', 'create', 'administrator', '--scopes', scopes, '--json')
  return (JSON.parse(out) as { plaintext: string }).plaintext
}

/** Any request with a JSON answer, below /admin/v1 or not. */
export async function sendJson(
  server: Server,
  key: string,
  { method, path, body }: { method: string; path: string; body?: object | undefined },
): Promise<AdministrationAnswer> {
  const answer = await fetch(server.origin + path, {
    method,
    headers: {
      authorization: `Bearer ${key}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const parsed = (await answer.json()) as AdministrationAnswer['body'] & { error?: { code: string } }
  return { status: answer.status, code: parsed.error?.code, body: parsed }
}
