import { Command, Option } from 'commander'
import type { z } from 'zod'
import type { Operation } from '../contracts/administration/operation.ts'
import { OPERATIONS, type OperationName } from '../contracts/administration/operations.ts'
import { HelixError } from '../core/errors.ts'
import { type CommonOptions, command, runCommand } from './command.ts'
import { explainLimitsCommand } from './limits.ts'
import { table } from './output.ts'
import { usageKpisText } from './usage-kpis-text.ts'

/** One command of the terminal: which operation, and which of its fields are written without a name. */
interface Entry {
  readonly operation: OperationName
  readonly positional?: readonly string[]
  /** Columns of a list. */
  readonly columns?: readonly string[]
  /** What is shown, where that is not the fields as they are. */
  readonly text?: (answer: Readonly<Record<string, unknown>>) => string
}

/** Commands by group and name; everything else about them stands in the table of operations. */
const GROUPS: Readonly<Record<string, Readonly<Record<string, Entry>>>> = {
  orgs: {
    list: { operation: 'organisations.list', columns: ['id', 'name', 'createdAt', 'archivedAt'] },
    create: { operation: 'organisations.create', positional: ['name'] },
    archive: { operation: 'organisations.archive' },
    show: { operation: 'organisation.show' },
    rename: { operation: 'organisation.rename', positional: ['name'] },
  },
  projects: {
    list: { operation: 'projects.list', columns: ['id', 'name', 'createdAt', 'archivedAt'] },
    create: { operation: 'projects.create', positional: ['name'] },
    show: { operation: 'projects.show' },
    rename: { operation: 'projects.rename', positional: ['name'] },
    archive: { operation: 'projects.archive' },
  },
  users: {
    list: { operation: 'users.list', columns: ['id', 'email', 'name', 'roles', 'createdAt'] },
    create: { operation: 'users.create', positional: ['email', 'name', 'role'] },
    show: { operation: 'users.show' },
    grant: { operation: 'users.grant', positional: ['role'] },
    remove: { operation: 'users.remove' },
    'end-sessions': { operation: 'users.end_sessions' },
  },
  'service-accounts': {
    list: { operation: 'service_accounts.list', columns: ['id', 'name', 'projectId', 'role', 'disabledAt'] },
    create: { operation: 'service_accounts.create', positional: ['projectId', 'name', 'role'] },
    show: { operation: 'service_accounts.show' },
    disable: { operation: 'service_accounts.disable' },
  },
  keys: {
    list: {
      operation: 'keys.list',
      columns: ['id', 'name', 'projectId', 'scopes', 'createdAt', 'expiresAt', 'revokedAt'],
    },
    create: { operation: 'keys.create', positional: ['name'] },
    show: { operation: 'keys.show' },
    rotate: { operation: 'keys.rotate' },
    revoke: { operation: 'keys.revoke' },
  },
  limits: {
    list: {
      operation: 'limits.list',
      columns: [
        ...['id', 'projectId', 'keyId', 'userId', 'each', 'measure', 'model', 'limit', 'window', 'burst'],
        ...['algorithm', 'period'],
      ],
    },
    set: { operation: 'limits.set', positional: ['measure', 'limit'] },
    show: { operation: 'limits.show' },
    remove: { operation: 'limits.remove' },
  },
  usage: {
    summary: {
      operation: 'usage.summary',
      columns: ['group', 'requests', 'errors', 'promptTokens', 'completionTokens', 'cachedTokens', 'cost'],
    },
    kpis: { operation: 'usage.kpis', text: usageKpisText },
    requests: {
      operation: 'usage.list',
      columns: [
        'startedAt',
        'model',
        'status',
        'promptTokens',
        'completionTokens',
        'cost',
        'cache',
        'keyId',
        'requestId',
      ],
    },
  },
  audit: {
    search: {
      operation: 'audit.search',
      positional: ['q'],
      columns: ['number', 'at', 'actor', 'action', 'target'],
    },
    verify: { operation: 'audit.verify' },
  },
}

const SUMMARIES: Readonly<Record<string, string>> = {
  orgs: 'organisations',
  projects: 'projects of an organisation',
  users: 'people and their roles',
  'service-accounts': 'accounts of programs',
  keys: 'API keys',
  limits: 'how much requests, tokens and money there may be',
  usage: 'what requests cost',
  audit: 'what was changed, by whom',
}

/** A command per group: `helixflow keys`, `helixflow users` and so on. */
export function administrationCommands(): Command[] {
  return Object.entries(GROUPS).map(([group, entries]) => {
    const parent = new Command(group).description(SUMMARIES[group] ?? group)
    for (const [name, entry] of Object.entries(entries)) parent.addCommand(commandOf(name, entry))
    // Asks the gateway, which counts; the others ask for what is written down.
    if (group === 'limits') parent.addCommand(explainLimitsCommand())
    return parent
  })
}

type Flags = CommonOptions & { readonly organisation?: string } & Readonly<Record<string, unknown>>

function commandOf(name: string, entry: Entry): Command {
  const operation: Operation = OPERATIONS[entry.operation]
  const fields = operation.input.shape as Readonly<Record<string, z.ZodType>>
  const positional = [...pathFields(operation), ...(entry.positional ?? [])]
  const made = command(name, lowerFirst(operation.summary))
  for (const field of positional) {
    const argument = optional(fields[field]) ? `[${field}]` : `<${field}>`
    made.argument(argument, fields[field]?.description)
  }
  for (const [field, type] of Object.entries(fields)) {
    if (positional.includes(field)) continue
    made.addOption(new Option(`--${kebab(field)} <value>`, type.description ?? ''))
  }
  made.option('--organisation <id>', 'whose (default: org_default)')
  return made.action((...given: unknown[]) => {
    const values = given.slice(0, positional.length)
    const flags = given[positional.length] as Flags
    return perform(entry, { positional, values, flags })
  })
}

async function perform(
  entry: Entry,
  given: { positional: readonly string[]; values: readonly unknown[]; flags: Flags },
): Promise<void> {
  const { flags } = given
  return runCommand(flags, async ({ control, output, json }) => {
    const operation: Operation = OPERATIONS[entry.operation]
    const input = inputOf(operation, given)
    const answer = await control.administer(operation, input, flags.organisation)
    output.result(answer, () => textOf(answer, entry))
    if (!json && typeof answer['plaintext'] === 'string') {
      output.note(`This key is shown only now. Its id is ${String(answer['id'])}.`)
    }
    if (!json && typeof answer['next'] === 'string') output.note(`More: --after ${answer['next']}`)
    return answer['intact'] === false ? 1 : 0
  })
}

function inputOf(
  operation: Operation,
  { positional, values, flags }: { positional: readonly string[]; values: readonly unknown[]; flags: Flags },
): Record<string, unknown> {
  const input: Record<string, unknown> = {}
  for (const [field, type] of Object.entries(operation.input.shape as Record<string, z.ZodType>)) {
    const at = positional.indexOf(field)
    const text = at >= 0 ? values[at] : flags[field]
    if (typeof text === 'string') input[field] = fromText(text, type, field)
  }
  return input
}

/** What the field's schema wants, from what was typed. */
function fromText(text: string, type: z.ZodType, field: string): unknown {
  const kind = kindOf(type)
  if (kind === 'array') return text.split(',').map((part) => part.trim())
  if (kind === 'number') return Number(text)
  if (kind === 'date') return dateText(text, field)
  return text
}

/** 2027-01-31 is a date too. */
function dateText(text: string, field: string): string {
  const time = Date.parse(text)
  if (!Number.isNaN(time)) return new Date(time).toISOString()
  throw new HelixError(
    'invalid_arguments',
    `--${kebab(field)}: '${text}' is not a date; write for example 2027-01-31.`,
  )
}

function kindOf(type: z.ZodType): 'array' | 'number' | 'date' | 'text' {
  const inner = unwrapped(type).def as { readonly type: string; readonly format?: string }
  if (inner.type === 'array' || inner.type === 'number') return inner.type
  return inner.format === 'datetime' ? 'date' : 'text'
}

function unwrapped(type: z.ZodType): z.ZodType {
  const { innerType } = type.def as { readonly innerType?: z.ZodType }
  return innerType ? unwrapped(innerType) : type
}

function optional(type: z.ZodType | undefined): boolean {
  return type?.def.type === 'optional' || type?.def.type === 'default'
}

function pathFields({ path }: Operation): string[] {
  return [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1] ?? '')
}

function textOf(answer: Readonly<Record<string, unknown>>, { columns, text }: Entry): string {
  if (text) return text(answer)
  if (typeof answer['plaintext'] === 'string') return answer['plaintext']
  const { data } = answer
  if (columns && Array.isArray(data)) {
    const rows = data.map((row: Record<string, unknown>) => columns.map((column) => cell(row[column])))
    return table(
      columns.map((column) => kebab(column).replaceAll('-', ' ').toUpperCase()),
      rows,
    )
  }
  const width = Math.max(...Object.keys(answer).map((field) => field.length))
  return Object.entries(answer)
    .map(([field, value]) => `${field.padEnd(width)}  ${cell(value)}`)
    .join('\n')
}

function cell(value: unknown): string {
  if (value === undefined) return '-'
  if (Array.isArray(value)) return value.map(cell).join(', ')
  if (typeof value === 'object' && value !== null) return Object.values(value).map(cell).join(' in ')
  return String(value)
}

function kebab(field: string): string {
  return field.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
}

function lowerFirst(text: string): string {
  return /^[A-Z][a-z ]/.test(text) ? text.charAt(0).toLowerCase() + text.slice(1) : text
}
