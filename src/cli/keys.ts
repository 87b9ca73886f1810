import { Command } from 'commander'
import type { CreatedKey, KeyView } from '../contracts/auth.ts'
import { HelixError } from '../core/errors.ts'
import { type CommonOptions, command, runCommand } from './command.ts'
import { table } from './output.ts'

export function keysCommand(): Command {
  const keys = new Command('keys').description('create, list and revoke API keys')
  keys.addCommand(
    command('create', 'create a key; it is shown this once')
      .argument('[name]', 'what it is for', 'unnamed')
      .option('--expires <date>', 'when it stops being valid, for example 2027-01-31')
      .action(create),
  )
  keys.addCommand(command('list', 'list keys, without their secrets').action(list))
  keys.addCommand(
    command('revoke', 'revoke a key at once').argument('<id>', 'its id, from the list').action(revoke),
  )
  return keys
}

function create(name: string, options: CommonOptions & { readonly expires?: string }): Promise<void> {
  return runCommand(options, async ({ control, output }) => {
    const expiresAtMs = options.expires === undefined ? undefined : dateMs(options.expires)
    const key = await control.post<CreatedKey>('/admin/v1/keys', { name, expiresAtMs })
    output.result(key, () => key.plaintext)
    output.note(`This key is shown only now. Its id is ${key.id}.`)
    return 0
  })
}

function list(options: CommonOptions): Promise<void> {
  return runCommand(options, async ({ control, output }) => {
    const { keys } = await control.get<{ keys: readonly KeyView[] }>('/admin/v1/keys')
    output.result(keys, () => table(['ID', 'NAME', 'PROJECT', 'CREATED', 'STATE'], keys.map(row)))
    return 0
  })
}

function revoke(id: string, options: CommonOptions): Promise<void> {
  return runCommand(options, async ({ control, output }) => {
    const key = await control.delete<KeyView>(`/admin/v1/keys/${encodeURIComponent(id)}`)
    output.result(key, () => `revoked ${key.id} (${key.name})`)
    return 0
  })
}

function row(key: KeyView): readonly string[] {
  return [
    key.id,
    key.name,
    key.projectId,
    new Date(key.createdAtMs).toISOString().slice(0, 10),
    stateText(key),
  ]
}

function stateText({ revokedAtMs, expiresAtMs }: KeyView): string {
  if (revokedAtMs !== undefined) return 'revoked'
  if (expiresAtMs === undefined) return 'active'
  return `${expiresAtMs <= Date.now() ? 'expired' : 'active until'} ${new Date(expiresAtMs).toISOString().slice(0, 10)}`
}

function dateMs(text: string): number {
  const time = Date.parse(text)
  if (!Number.isNaN(time)) return time
  throw new HelixError('invalid_arguments', `'${text}' is not a date; write for example 2027-01-31.`)
}
