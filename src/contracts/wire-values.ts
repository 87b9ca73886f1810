import { HelixError } from '../core/errors.ts'

/** A whole number for the wire: bytes of estimates and averages may have parts. */
export function toWhole(value: number): bigint {
  return BigInt(Math.round(value))
}

export function toWholeIf(value: number | undefined): bigint | undefined {
  return value === undefined ? undefined : toWhole(value)
}

export function fromWholeIf(value: bigint | undefined): number | undefined {
  return value === undefined ? undefined : Number(value)
}

/**
 * A word of a closed list.
 * @throws HelixError `invalid_value` for any other: a newer service may know more of them
 */
export function toMember<Word extends string>(words: readonly Word[], text: string): Word {
  const word = words.find((one) => one === text)
  if (word !== undefined) return word
  throw new HelixError('invalid_value', `The word '${text}' is none of ${words.join(', ')}.`)
}
