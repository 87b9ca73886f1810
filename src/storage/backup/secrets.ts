import { createHash } from 'node:crypto'
import { chmod, copyFile, mkdir, rename } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { HelixError } from '../../core/errors.ts'
import { readSecret } from '../secret-file.ts'
import type { Manifest } from './manifest.ts'

type Secrets = Manifest['secrets']

const FOLDER = 'secrets'

/** 256 random bits cannot be guessed from a hash of them; the words before make it of no use elsewhere. */
function fingerprint(secret: string): string {
  return createHash('sha256').update(`helixflow secret ${secret}`).digest('hex').slice(0, 16)
}

/**
 * Copies the secrets without which the data is of no use, each readable to its owner only. Whoever wants them kept
 * apart leaves them out, and the backup says by their fingerprints which ones it needs.
 */
export async function backUpSecrets(
  paths: readonly string[],
  content: string,
  included: boolean,
): Promise<{ secrets: Secrets; files: readonly string[] }> {
  const secrets: Secrets = {}
  const files: string[] = []
  for (const path of paths) {
    const secret = await readSecret(path)
    if (secret === undefined) continue
    const name = basename(path)
    secrets[name] = { fingerprint: fingerprint(secret), included }
    if (!included) continue
    await mkdir(join(content, FOLDER), { recursive: true, mode: 0o700 })
    files.push(`${FOLDER}/${name}`)
    await copyFile(path, join(content, FOLDER, name))
    await chmod(join(content, FOLDER, name), 0o600)
  }
  return { secrets, files }
}

/** A secret that has to be put in place for a restored database to be of use. */
export interface SecretToRestore {
  readonly from: string
  readonly to: string
}

/**
 * What is not in place already.
 * @param paths where this installation keeps its secrets
 * @throws HelixError `backup_invalid` when one is needed that neither the backup nor this installation has
 */
export async function secretsToRestore(
  backup: string,
  secrets: Secrets,
  paths: readonly string[],
): Promise<readonly SecretToRestore[]> {
  const missing: SecretToRestore[] = []
  for (const [name, { fingerprint: wanted, included }] of Object.entries(secrets)) {
    const to = paths.find((path) => basename(path) === name)
    if (to === undefined) continue
    const present = await readSecret(to)
    if (present !== undefined && fingerprint(present) === wanted) continue
    if (!included) {
      throw new HelixError(
        'backup_invalid',
        `The database in this backup belongs to another ${name} (${wanted}) than ${to} holds, and the backup was made without secrets. Put that file there first: without it no API key would be valid.`,
      )
    }
    missing.push({ from: join(backup, FOLDER, name), to })
  }
  return missing
}

/** Keeps what it replaces. Returns the paths of what was kept. */
export async function putSecret({ from, to }: SecretToRestore, suffix: string): Promise<string | undefined> {
  const temporary = `${to}.new`
  await copyFile(from, temporary)
  await chmod(temporary, 0o600)
  const kept = `${to}${suffix}`
  const replaced = await rename(to, kept).then(
    () => true,
    () => false,
  )
  await rename(temporary, to)
  return replaced ? kept : undefined
}

/** Whether a fingerprint in the manifest fits the secret beside it. */
export async function checkSecrets(backup: string, secrets: Secrets): Promise<readonly string[]> {
  const problems: string[] = []
  for (const [name, { fingerprint: wanted, included }] of Object.entries(secrets)) {
    if (!included) continue
    const secret = await readSecret(join(backup, FOLDER, name)).catch(() => undefined)
    if (secret === undefined || fingerprint(secret) !== wanted) problems.push(`secret ${name} is damaged`)
  }
  return problems
}
