import type { AuthClient, Caller } from '../auth.ts'
import type { OperationInput, OperationName, OperationOutput } from './operations.ts'

/** An operation in this program's own types. @throws HelixError as `AuthClient.administer` */
export async function callOperation<Name extends OperationName>(
  auth: Pick<AuthClient, 'administer'>,
  caller: Caller,
  operation: Name,
  input: Partial<OperationInput<Name>>,
): Promise<OperationOutput<Name>> {
  return (await auth.administer({ caller, operation, input })) as OperationOutput<Name>
}
