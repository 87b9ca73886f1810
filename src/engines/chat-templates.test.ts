import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { CHAT_TEMPLATES, chatTemplatePath } from './chat-templates.ts'

test.each(Object.keys(CHAT_TEMPLATES))('the template %s lies where its name leads', (name) => {
  expect(readFileSync(chatTemplatePath(name), 'utf8')).toContain('add_generation_prompt')
})

test('an absolute path names a template of the operator', () => {
  expect(chatTemplatePath('/etc/mine.jinja')).toBe('/etc/mine.jinja')
})

test('an unknown name is refused with the known ones', () => {
  expect(() => chatTemplatePath('toString')).toThrow(/chatml-tools/)
})
