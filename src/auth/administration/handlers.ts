import type {
  OperationInput,
  OperationName,
  OperationOutput,
} from '../../contracts/administration/operations.ts'
import type { MonitorClient } from '../../contracts/monitor.ts'
import type { UsageClient } from '../../contracts/usage.ts'
import type { Task } from './task.ts'

export interface HandlerTools {
  /** What API keys are hashed with. */
  readonly pepper: Buffer
  /** argon2id, in its own text form. */
  readonly hashPassword: (password: string) => Promise<string>
  readonly usage: Pick<UsageClient, 'summary' | 'list'>
  /** Figures of the business, without what devices cost. */
  readonly kpis: Pick<MonitorClient, 'kpis'>
}

/** What is done for each operation of the table, inside the transaction of its call. */
export type Handlers = {
  readonly [Name in OperationName]: (
    task: Task,
    input: OperationInput<Name>,
    tools: HandlerTools,
  ) => Promise<OperationOutput<Name>>
}
