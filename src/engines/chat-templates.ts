import { isAbsolute } from 'node:path'
import { fileURLToPath } from 'node:url'
import { HelixError } from '../core/errors.ts'

/** Chat templates that come with HelixFlow, for models whose own lacks something. The names go into the configuration. */
export const CHAT_TEMPLATES = {
  /** ChatML with tools, for models that were trained on ChatML but whose own template shows them no tools. */
  'chatml-tools': 'chatml-tools.jinja',
} as const satisfies Record<string, string>

export type ChatTemplateName = keyof typeof CHAT_TEMPLATES

/**
 * Where the template of that name lies; an absolute path names a template of the operator's own.
 * @throws HelixError `invalid_value` when it is neither
 */
export function chatTemplatePath(name: string): string {
  if (isAbsolute(name)) return name
  const file = Object.entries(CHAT_TEMPLATES).find(([known]) => known === name)?.[1]
  if (file) return fileURLToPath(new URL(`./chat-templates/${file}`, import.meta.url))
  throw new HelixError(
    'invalid_value',
    `There is no chat template '${name}'. Give the absolute path of a file, or one of: ${Object.keys(CHAT_TEMPLATES).join(', ')}.`,
    { param: 'chatTemplate' },
  )
}
