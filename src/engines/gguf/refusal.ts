import { basename } from 'node:path'
import { HelixError } from '../../core/errors.ts'

/** Makes the error that refuses one model file. `problem` is a clause: what is wrong and where. */
export type Refuse = (problem: string, cause?: unknown) => HelixError

export function refusalOf(path: string): Refuse {
  return (problem, cause) =>
    new HelixError(
      'model_invalid',
      `${basename(path)} is not a usable GGUF model: ${problem}. Download it again or choose another model.`,
      { internal: `${path}: ${problem}`, cause },
    )
}

/** A name from the file made fit for a message: printable and short. */
export function quoted(name: string): string {
  return JSON.stringify(name.length > 80 ? `${name.slice(0, 80)}...` : name)
}
