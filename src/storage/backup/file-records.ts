import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { OnProgress } from '../../core/progress.ts'
import { forEach, hashFile } from './copy-file.ts'
import type { FileRecord, Manifest } from './manifest.ts'

/** Paths of everything under a folder, with slashes; parents come before their children. */
export async function listTree(
  root: string,
): Promise<{ readonly directories: readonly string[]; readonly files: readonly string[] }> {
  const directories: string[] = []
  const files: string[] = []
  const visit = async (parent: string): Promise<void> => {
    for (const entry of await readdir(join(root, parent), { withFileTypes: true })) {
      const path = parent === '' ? entry.name : `${parent}/${entry.name}`
      if (!entry.isDirectory()) files.push(path)
      else {
        directories.push(path)
        await visit(path)
      }
    }
  }
  await visit('')
  return { directories: directories.sort(), files: files.sort() }
}

/** Hashes what is not known already. */
export async function recordFiles(
  content: string,
  known: readonly FileRecord[],
  signal: AbortSignal,
): Promise<Pick<Manifest, 'directories' | 'files' | 'sizeBytes'>> {
  const { directories, files } = await listTree(content)
  const records = new Map(known.map((record) => [record.path, record]))
  await forEach(files, async (path) => {
    if (records.has(path)) return
    records.set(path, { path, ...(await hashFile(join(content, path), { signal, onBytes: () => {} })) })
  })
  const recorded = files.flatMap((path) => records.get(path) ?? [])
  const sizeBytes = recorded.reduce((sum, file) => sum + file.sizeBytes, 0)
  return { directories: [...directories], files: recorded, sizeBytes }
}

/** What of a backup's files is not as its manifest says, in words. */
export async function checkFiles(
  backup: string,
  manifest: Manifest,
  { signal, onProgress }: { readonly signal: AbortSignal; readonly onProgress: OnProgress },
): Promise<readonly string[]> {
  const problems: string[] = []
  const found = new Set((await listTree(backup)).files)
  found.delete('manifest.json')
  let done = 0
  const onBytes = (bytes: number) => {
    done += bytes
    onProgress({ step: 'checking files', done, total: manifest.sizeBytes, unit: 'bytes' })
  }
  await forEach(manifest.files, async ({ path, sizeBytes, sha256 }) => {
    if (!found.delete(path)) {
      problems.push(`file ${path} is missing`)
      return
    }
    const now = await hashFile(join(backup, path), { signal, onBytes })
    if (now.sizeBytes !== sizeBytes)
      problems.push(`file ${path} has ${now.sizeBytes} bytes instead of ${sizeBytes}`)
    else if (now.sha256 !== sha256) problems.push(`file ${path} is damaged`)
  })
  for (const path of found) problems.push(`file ${path} does not belong to the backup`)
  return problems.sort()
}
