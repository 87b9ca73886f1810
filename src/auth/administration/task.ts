import type { OperationName } from '../../contracts/administration/operations.ts'
import { OPERATIONS } from '../../contracts/administration/operations.ts'
import type { Caller } from '../../contracts/auth.ts'
import { may, mayAnywhere, type Permission } from '../../contracts/permissions.ts'
import { HelixError } from '../../core/errors.ts'
import type { TenantQueries } from '../../storage/tenancy.ts'

/** What a change did, for the audit log. */
export interface Change {
  readonly target: string
  readonly projectId?: string | undefined
  readonly details?: Readonly<Record<string, unknown>>
}

export interface TaskParts {
  readonly operation: OperationName
  readonly caller: Caller
  readonly queries: TenantQueries
  readonly nowMs: number
}

/**
 * One administrative call at work, in its transaction. It knows what the caller may do, and remembers what was changed
 * and which credentials ended with it. An operation that forgets to ask for permission does not get through.
 */
export class Task {
  readonly queries: TenantQueries
  readonly nowMs: number
  readonly organisationId: string
  readonly changed: Change[] = []
  readonly ended: string[] = []
  private allowed = false

  constructor(private readonly parts: TaskParts) {
    this.queries = parts.queries
    this.nowMs = parts.nowMs
    this.organisationId = parts.caller.organisationId
  }

  get caller(): Caller {
    return this.parts.caller
  }

  /** Whether the operation's permission was asked for. */
  get authorised(): boolean {
    return this.allowed
  }

  /**
   * The caller may do this operation in that project, or in the organisation where none is given.
   * @throws HelixError `insufficient_permissions`; `not_found` when they may not even see the project
   */
  authorise(projectId?: string): void {
    const { permission } = OPERATIONS[this.parts.operation]
    if (this.holds(permission, projectId)) {
      this.allowed = true
      return
    }
    if (projectId !== undefined && !this.holds('projects.read', projectId)) throw notFound()
    throw new HelixError(
      'insufficient_permissions',
      `This needs the permission '${permission}'. Somebody who has it can do this, or give you a role that includes it.`,
    )
  }

  /** The projects in which the caller may do this operation; undefined: all of them. */
  visibleProjects(): readonly string[] | undefined {
    const { caller } = this.parts
    const { permission } = OPERATIONS[this.parts.operation]
    if (this.holds(permission)) {
      this.allowed = true
      return undefined
    }
    if (
      caller.actor === 'operator' ||
      permission === 'platform' ||
      !mayAnywhere(rightsOf(caller), permission)
    ) {
      this.authorise()
      return []
    }
    this.allowed = true
    const { projects } = rightsOf(caller)
    return Object.keys(projects).filter((projectId) => projects[projectId]?.includes(permission))
  }

  /** Whether the caller has a permission, beyond the one that the operation needs. */
  holds(permission: Permission | 'platform', projectId?: string): boolean {
    const { caller } = this.parts
    if (isOperator(caller)) return true
    return permission !== 'platform' && may(rightsOf(caller), permission, projectId)
  }

  /** To be said of every change: it becomes the entry in the audit log. */
  changes(change: Change): void {
    this.changed.push(change)
  }

  /** Credentials of that key, user, project and so on end; running requests too. */
  ends(subject: string): void {
    this.ended.push(subject)
  }
}

/** One text for what is not there and for what is somebody else's. */
export function notFound(): HelixError {
  return new HelixError('not_found', 'There is nothing with this id.')
}

export function isOperator(caller: Caller): caller is Extract<Caller, { actor: 'operator' }> {
  return !('rights' in caller)
}

function rightsOf(caller: Caller) {
  return isOperator(caller) ? { organisation: [], projects: {} } : caller.rights
}
