import { HelixError } from '../core/errors.ts'

/** One text for a model that is not there and for one that the caller may not use. */
export function modelNotFound(model: string): HelixError {
  return new HelixError(
    'model_not_found',
    `The model '${model}' does not exist. GET /v1/models lists the ones that do.`,
    { param: 'model' },
  )
}
