import { expect, test } from 'vitest'
import { isModelName, modelNameFrom, requireModelName } from './model-name.ts'

test.each(['smollm2-135m-instruct', 'a', '0.5b_q4', 'x'.repeat(128)])('%s is a name', (name) => {
  expect(requireModelName(name)).toBe(name)
})

test.each([
  '',
  '.',
  '..',
  '../etc/passwd',
  'a/../b',
  '/etc/passwd',
  'a\\b',
  'a..b',
  'a\0b',
  'sha256:../../x',
  'a\u2024\u2024b',
  '\uff0e\uff0e',
  'A',
  '-a',
  'a b',
  'a\n',
  'x'.repeat(129),
])('%j is no name, with status 400', (name) => {
  expect(isModelName(name)).toBe(false)
  expect(() => requireModelName(name)).toThrow(
    expect.objectContaining({ code: 'invalid_arguments', status: 400 }),
  )
})

test.each([
  ['SmolLM2-135M-Instruct.Q4_1.gguf', 'smollm2-135m-instruct.q4_1'],
  ['My Model (final).GGUF', 'my-model-final'],
  ['..hidden...gguf', 'hidden'],
  ['big-00001-of-00003.gguf', 'big'],
  ['x'.repeat(200), 'x'.repeat(128)],
  ['模型.gguf', undefined],
  ['.gguf', undefined],
])('the name made of %s is %s', (fileName, name) => {
  expect(modelNameFrom(fileName)).toBe(name)
})
