import { join } from 'node:path'
import { ControlClient } from '../../src/cli/control-client.ts'
import { loadSettings } from '../../src/config/load.ts'
import { placesOf } from '../../src/config/places.ts'
import { OPERATIONS } from '../../src/contracts/administration/operations.ts'
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

/** The running server as its operator speaks to it. */
export function operatorOf(server: Pick<Server, 'home'>): ControlClient {
  const { home, config } = loadSettings({ configPath: join(server.home, 'test.yaml'), home: server.home })
  return new ControlClient(placesOf(home, config).controlSocket)
}

/** A key of an organisation of its own. */
export async function keyElsewhere(server: Server): Promise<string> {
  const operator = operatorOf(server)
  const { id } = await operator.administer(OPERATIONS['organisations.create'], { name: 'Elsewhere' })
  const projects = await operator.administer(OPERATIONS['projects.create'], { name: 'theirs' }, String(id))
  const input = { name: 'theirs', projectId: projects['id'] }
  return String((await operator.administer(OPERATIONS['keys.create'], input, String(id)))['plaintext'])
}
