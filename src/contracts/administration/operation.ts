import { z } from 'zod'
import type { Permission } from '../permissions.ts'

/**
 * One thing that can be administered. HTTP routes, the OpenAPI document, RPC, the command line and the checks of the
 * auth service are all made from this: there is no other list.
 */
export interface Operation {
  /** One line, for people. */
  readonly summary: string
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE'
  /** Below `/admin/v1`; `{id}` is a field of the input. */
  readonly path: string
  /** What the caller needs; `platform` is the operator's alone. */
  readonly permission: Permission | 'platform'
  /** Everything at once, whether it came in the path, the query or the body. */
  readonly input: z.ZodObject
  readonly output: z.ZodType
}

/** Text of one line. */
export const text = (lengthMax: number) =>
  z
    .string()
    .min(1)
    .max(lengthMax)
    .refine((given) => !/\p{Cc}/u.test(given) && given.isWellFormed(), 'must be printable characters')

export const id = (of: string) => text(64).describe(`Id of the ${of}.`)

/** What people call something. */
export const name = text(100).refine((given) => given.trim() === given, 'must not begin or end with a space')

export const timestamp = z.iso.datetime({ offset: true }).describe('ISO 8601, as 2027-01-31T12:00:00Z.')

export const amountOfMoney = z.string().describe('A decimal number, in whatever the prices are in.')

/** A page of a list, newest first unless the operation says otherwise. */
export const page = {
  limit: z.coerce.number().int().min(1).max(200).default(50).describe('Entries of a page at most.'),
  after: text(200).optional().describe('`next` of the page before.'),
}

export const listOf = <T extends z.ZodType>(entry: T) =>
  z.strictObject({
    data: z.array(entry),
    next: z.string().optional().describe('Hand it in as `after` for the next page; absent on the last.'),
  })
