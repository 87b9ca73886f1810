import { stringify } from 'yaml'
import { z } from 'zod'
import { Config } from './schema.ts'

/** The text of helixflow.example.yaml: every setting, its default and its meaning, from the schema itself. */
export function exampleConfig(): string {
  const lines = [
    '# Every setting of HelixFlow with its default. All of them are optional.',
    '# Over this file: environment variables HELIXFLOW_<SECTION>_<KEY> (HELIXFLOW_GATEWAY_PORT=9000), then flags.',
    '# Generated from src/config/schema.ts by `npm run gen`.',
  ]
  for (const [name, section] of Object.entries(Config.shape)) {
    lines.push('', `# ${describe(section)}`, ...sectionLines(name, section))
  }
  return `${lines.join('\n')}\n`
}

/** Every section with the names of its keys, for the mapping of environment variables. */
export function configKeys(): ReadonlyMap<string, readonly string[]> {
  return new Map(
    Object.entries(Config.shape).map(([name, section]) => [
      name,
      shapesOf(section).flatMap((shape) => Object.keys(shape)),
    ]),
  )
}

function sectionLines(name: string, section: z.ZodType): string[] {
  const [shape] = shapesOf(section)
  if (!shape) return [`${name}: ${inline(defaultOf(section))}`]
  return [
    `${name}:`,
    ...Object.entries(shape).flatMap(([key, field]) => {
      const text = describe(field)
      const fallback = defaultOf(field)
      const setting = fallback === undefined ? `# ${key}:` : `${key}: ${inline(fallback)}`
      return [...(text ? [`  # ${text}`] : []), `  ${setting}`]
    }),
  ]
}

function inline(value: unknown): string {
  return stringify(value, { collectionStyle: 'flow', lineWidth: 0 }).trim()
}

function describe(schema: z.ZodType): string {
  return schema.description ?? ''
}

/** The object shapes behind a section: one for a plain section, several for a union, none for a list. */
function shapesOf(schema: z.ZodType): Readonly<Record<string, z.ZodType>>[] {
  if (schema instanceof z.ZodObject) return [schema.shape]
  if (schema instanceof z.ZodDiscriminatedUnion)
    return schema.options.flatMap((option) => shapesOf(option as z.ZodType))
  const inner = unwrapped(schema)
  return inner ? shapesOf(inner) : []
}

function defaultOf(schema: z.ZodType): unknown {
  if (schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault) return schema.def.defaultValue
  if (schema instanceof z.ZodLiteral) return schema.value
  const inner = unwrapped(schema)
  return inner ? defaultOf(inner) : undefined
}

function unwrapped(schema: z.ZodType): z.ZodType | undefined {
  if (schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault || schema instanceof z.ZodOptional) {
    return schema.def.innerType as z.ZodType
  }
  if (schema instanceof z.ZodNullable) return schema.def.innerType as z.ZodType
  return undefined
}
