import type { z } from 'zod'
import { auditOperations } from './audit.ts'
import { keyOperations } from './keys.ts'
import { limitOperations } from './limits.ts'
import { memberOperations } from './members.ts'
import type { Operation } from './operation.ts'
import { organisationOperations } from './organisations.ts'
import { usageOperations } from './usage.ts'

/** Everything that can be administered, by name. */
export const OPERATIONS = {
  ...organisationOperations,
  ...memberOperations,
  ...keyOperations,
  ...auditOperations,
  ...usageOperations,
  ...limitOperations,
} as const satisfies Record<string, Operation>

export type OperationName = keyof typeof OPERATIONS

export type OperationInput<Name extends OperationName> = z.output<(typeof OPERATIONS)[Name]['input']>
export type OperationOutput<Name extends OperationName> = z.input<(typeof OPERATIONS)[Name]['output']>

export function isOperation(name: string): name is OperationName {
  return Object.hasOwn(OPERATIONS, name)
}

/** Whether it changes anything: such calls are audited. */
export function changes(name: OperationName): boolean {
  return OPERATIONS[name].method !== 'GET'
}
