import { randomBytes } from 'node:crypto'
import { link, open, readFile, unlink } from 'node:fs/promises'
import { HelixError } from '../core/errors.ts'
import { removeLeftovers, temporaryBeside } from './leftovers.ts'

/**
 * 256 random bits as 64 hexadecimal digits, kept in a file that only its owner can read. Made by the first caller;
 * everybody after, in the same instant too, reads what that one wrote.
 * @throws HelixError `invalid_configuration` when the file holds something else
 */
export async function readOrCreateSecret(path: string): Promise<string> {
  return (await readSecret(path)) ?? (await createSecret(path))
}

/** The same without making one. @throws HelixError `invalid_configuration` when the file holds something else */
export async function readSecret(path: string): Promise<string | undefined> {
  let text: string
  try {
    text = (await readFile(path, 'utf8')).trim()
  } catch (reason) {
    if (isMissing(reason)) return undefined
    throw new HelixError(
      'invalid_configuration',
      `The secret file ${path} cannot be read: ${String(reason)}`,
      {
        cause: reason,
      },
    )
  }
  if (/^[0-9a-f]{64}$/.test(text)) return text
  throw new HelixError(
    'invalid_configuration',
    `The secret file ${path} is damaged: it should hold 64 hexadecimal digits. Restore it from a backup.`,
  )
}

async function createSecret(path: string): Promise<string> {
  const secret = randomBytes(32).toString('hex')
  await removeLeftovers(path)
  const temporary = temporaryBeside(path)
  const file = await open(temporary, 'wx', 0o600)
  try {
    await file.writeFile(`${secret}\n`)
    await file.sync()
  } finally {
    await file.close()
  }
  try {
    // Unlike a rename, a link never replaces: of two that come at the same time the second one fails.
    await link(temporary, path)
    return secret
  } catch (reason) {
    const winner = await readSecret(path)
    if (winner === undefined) throw HelixError.from(reason)
    return winner
  } finally {
    await unlink(temporary)
  }
}

function isMissing(reason: unknown): boolean {
  return reason instanceof Error && 'code' in reason && reason.code === 'ENOENT'
}
