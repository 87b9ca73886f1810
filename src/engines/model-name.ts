import { HelixError } from '../core/errors.ts'

const MODEL_NAME = /^[a-z0-9][a-z0-9._-]{0,127}$/

/** Such a name is safe as a file name on every system, and cannot lead out of a folder. */
export function isModelName(text: string): boolean {
  return MODEL_NAME.test(text) && !text.includes('..')
}

/** @throws HelixError `invalid_arguments` */
export function requireModelName(text: string): string {
  if (isModelName(text)) return text
  throw new HelixError(
    'invalid_arguments',
    `${JSON.stringify(text.slice(0, 200))} is no name for a model. Use up to 128 small letters, digits, dots, ` +
      'hyphens and underscores, beginning with a letter or digit, without two dots in a row.',
    { param: 'model' },
  )
}

/**
 * `SmolLM2-135M-Instruct.Q4_1.gguf` -> `smollm2-135m-instruct.q4_1`. Of a model in several files the first
 * stands for all. Undefined when nothing usable is left.
 */
export function modelNameFrom(fileName: string): string | undefined {
  const name = fileName
    .replace(/\.gguf$/i, '')
    .replace(/-00001-of-\d{5}$/, '')
    .toLowerCase()
    .replaceAll(/[^a-z0-9._-]+/g, '-')
    .replaceAll(/\.{2,}/g, '.')
    .replace(/^[^a-z0-9]+/, '')
    .slice(0, 128)
    .replace(/[^a-z0-9]+$/, '')
  return isModelName(name) ? name : undefined
}
