import { describe, expect, test } from 'vitest'
import { LlamaOutput, tellingLine } from './llama-output.ts'

function outputOf(...chunks: string[]): { output: LlamaOutput; lines: string[] } {
  const lines: string[] = []
  const output = new LlamaOutput((line) => lines.push(line))
  const read = output.reader()
  for (const chunk of chunks) read(chunk)
  return { output, lines }
}

describe('output of an engine', () => {
  test('comes as whole lines, however it is cut', () => {
    expect(outputOf('fir', 'st\nsec', 'ond\r\n\nthird').lines).toEqual(['first', 'second'])
  })

  test('never shows the key of the engine, however long the line', () => {
    const lines: string[] = []
    const output = new LlamaOutput((line) => lines.push(line), { secret: 'k3y' })
    output.reader()(`${'x'.repeat(398)}k3y and k3y\n`)
    expect([...lines, ...output.lastLines].join()).not.toMatch(/k3/)
  })

  test('is kept to the last lines, each of bounded length', () => {
    const { output } = outputOf(
      `${'x'.repeat(10_000)}\n`,
      ...Array.from({ length: 100 }, (_, i) => `line ${i}\n`),
    )
    expect(output.lastLines).toHaveLength(40)
    expect(output.lastLines.at(-1)).toBe('line 99')
    expect(outputOf('y'.repeat(5_000), 'z'.repeat(5_000), '\n').output.lastLines[0]?.length).toBeLessThan(
      1_000,
    )
  })

  test.each([
    ['0.12.003.004 W srv          stop: cancel task, id_task = 7', true],
    ['0.12.003.004 E srv    operator(): got exception: {"message":"last read: \'secret\'"}', false],
    ['0.12.003.004 E srv    send_error: task id = 0, error: secret', false],
    ['0.12.003.004 W common_chat_parse: unparsed peg-native output: secret', false],
    ['root ::= secret', false],
    ['parse: error parsing grammar: expecting name at secret', false],
    ['/src/ggml/ggml.c:123: GGML_ASSERT(ok) failed', true],
    ["terminate called after throwing an instance of 'std::bad_alloc'", true],
    ['something that a later version prints', false],
  ])('while it serves: %s', (line, passes) => {
    const lines: string[] = []
    const output = new LlamaOutput((seen) => lines.push(seen))
    output.beginServing()
    output.reader()(`${line}\n`)
    expect(lines).toEqual(passes ? [line] : [])
    expect(output.lastLines).toEqual(lines)
  })
})

describe('the telling line', () => {
  test('is what the loader says about the model', () => {
    const lines = [
      '0.00.001.000 I srv  llama_server: initializing ...',
      "0.00.009.832 E llama_model_load: error loading model: tensor 'x' data is not within the file bounds",
      '0.00.009.846 E llama_model_load_from_file_impl: failed to load model',
      "0.00.009.900 E srv    load_model: failed to load model, '/m.gguf'",
    ]
    expect(tellingLine(lines)).toBe("error loading model: tensor 'x' data is not within the file bounds")
  })

  test('is the assertion that failed, else the last error, else the last line', () => {
    expect(tellingLine(['a.c:1: GGML_ASSERT(x) failed', 'bye'])).toBe('a.c:1: GGML_ASSERT(x) failed')
    expect(tellingLine(['0.00.000.100 E srv    bind: no socket', '0.00.000.200 I cleaning up'])).toBe(
      'no socket',
    )
    expect(tellingLine(['error: invalid argument: --fit', 'usage'])).toBe('error: invalid argument: --fit')
    expect(tellingLine(['bye'])).toBe('bye')
    expect(tellingLine([])).toBeUndefined()
  })
})
