/** Keywords whose schemas apply to the very value that their own schema applies to. */
const IN_PLACE = ['anyOf', 'oneOf', 'allOf'] as const

/**
 * Whether a schema leads back to itself with nothing in between that a value could consist of. As a grammar it never
 * ends, and an engine that follows it ends instead.
 */
export function hasEndlessReference(root: unknown): boolean {
  const finished = new Set<unknown>()
  const open = new Set<unknown>()
  const leadsBack = (schema: unknown): boolean => {
    if (!isObject(schema) || finished.has(schema)) return false
    if (open.has(schema)) return true
    open.add(schema)
    const endless = appliedInPlace(schema, root).some(leadsBack)
    open.delete(schema)
    finished.add(schema)
    return endless
  }
  const visit = (value: unknown): boolean =>
    isObject(value) && (leadsBack(value) || Object.values(value).some(visit))
  return visit(root)
}

type Fields = Readonly<Record<string, unknown>>

function appliedInPlace(schema: Fields, root: unknown): readonly unknown[] {
  const { $ref } = schema
  const referred = typeof $ref === 'string' ? [target($ref, root)] : []
  const listed = IN_PLACE.flatMap((keyword) => (Array.isArray(schema[keyword]) ? schema[keyword] : []))
  return [...referred, ...listed]
}

/** What `#/a/b` points to; undefined when there is nothing. */
function target(pointer: string, root: unknown): unknown {
  const parts = pointer.replace(/^#\/?/, '').split('/')
  if (parts.join('') === '') return root
  return parts.reduce<unknown>((at, part) => {
    const name = part.replaceAll('~1', '/').replaceAll('~0', '~')
    return isObject(at) && Object.hasOwn(at, name) ? at[name] : undefined
  }, root)
}

function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null
}
