import { open, readFile, rename } from 'node:fs/promises'
import { dirname } from 'node:path'
import { z } from 'zod'
import { HelixError } from '../core/errors.ts'
import { asDiskFull } from './free-space.ts'
import { isModelName } from './model-name.ts'
import { syncFolder } from './partial-file.ts'

/** What a model's file says of itself, as far as lists and the pool need it. */
const HeaderFacts = z.object({
  architecture: z.string(),
  /** The type that most weights have, such as `Q4_1`. */
  quantization: z.string(),
  /** Tokens that it was trained for. */
  contextLength: z.number().int().positive(),
  parameterCount: z.number().int().nonnegative(),
  kind: z.enum(['generation', 'embedding']),
})

export type HeaderFacts = z.output<typeof HeaderFacts>

const ModelManifest = z.object({
  name: z.string().refine(isModelName),
  /** The name of the model's file in the same folder. */
  file: z.string().regex(/^[^/\\\0]+\.gguf$/i),
  /** The manifest is of a file of this size; of another one it says nothing. */
  sizeBytes: z.number().int().nonnegative(),
  /** Absent until somebody needs it, for a file that was put here by hand. */
  sha256: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .optional(),
  /** Where it came from, in the notation of `helixflow models pull`. Absent when it was put here by hand. */
  source: z.string().optional(),
  licence: z.string().optional(),
  addedAtMs: z.number(),
  header: HeaderFacts.optional(),
  quarantine: z.object({ reason: z.string(), sinceMs: z.number() }).optional(),
})

/** What is known of one model, in a JSON file beside the model's own. */
export type ModelManifest = z.output<typeof ModelManifest>

/** @throws HelixError `model_invalid` when it is no manifest */
export async function readManifest(path: string): Promise<ModelManifest> {
  const text = await readFile(path, 'utf8')
  try {
    return ModelManifest.parse(JSON.parse(text))
  } catch (cause) {
    const reason = cause instanceof z.ZodError ? z.prettifyError(cause) : String(cause)
    throw new HelixError('model_invalid', `${path} is damaged: ${reason}`, { cause })
  }
}

/** Replaces it in one step: a reader sees the old or the new one. @throws HelixError `disk_full` */
export async function writeManifest(path: string, manifest: ModelManifest): Promise<void> {
  const draft = `${path}.draft`
  try {
    const handle = await open(draft, 'w')
    try {
      await handle.writeFile(`${JSON.stringify(manifest, undefined, 2)}\n`)
      await handle.sync()
    } finally {
      await handle.close()
    }
  } catch (cause) {
    throw await asDiskFull(cause, dirname(path))
  }
  await rename(draft, path)
  await syncFolder(dirname(path))
}
