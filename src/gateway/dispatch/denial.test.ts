import { describe, expect, test } from 'vitest'
import { denialError, streamedError } from './denial.ts'

const exchange = { inputParam: 'messages', schemaParam: undefined }

/** As vLLM writes its errors. */
const vllm = (message: string) => ({ error: { message, type: 'BadRequestError', param: null, code: 400 } })
/** As SGLang does. */
const sglang = (message: string) => ({
  object: 'error',
  message,
  type: 'BadRequestError',
  param: null,
  code: 400,
})

describe('an input that is too long, in the words of', () => {
  const both = 'at most 4096 tokens of input and answer together here, and the input has 2778'
  test.each([
    [
      'vLLM',
      vllm(
        "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens in the messages, Please reduce the length of the messages.",
      ),
      'at most 4096 tokens here, and the input has 5000',
    ],
    [
      'vLLM, whose request is the sum',
      vllm(
        "'max_tokens' or 'max_completion_tokens' is too large: 8000. This model's maximum context length is 4096 tokens and your request has 2778 input tokens (8000 > 4096 - 2778). None",
      ),
      both,
    ],
    [
      'vLLM, further inside',
      vllm('The decoder prompt (length 5000) is longer than the maximum model length of 4096. Make sure'),
      'at most 4096 tokens here, and the input has 5000',
    ],
    [
      'SGLang',
      sglang("The input (5000 tokens) is longer than the model's context length (4096 tokens)."),
      'at most 4096 tokens here, and the input has 5000',
    ],
    [
      'SGLang, whose request is the sum',
      sglang(
        "Requested token count exceeds the model's maximum context length of 4096 tokens. You requested a total of 10778 tokens: 2778 tokens from the input messages and 8000 tokens for the completion.",
      ),
      both,
    ],
    [
      'llama-server',
      {
        error: {
          message:
            'request (3031 tokens) exceeds the available context size (2048 tokens), try increasing it',
          type: 'exceed_context_size_error',
          code: 400,
        },
      },
      'at most 2048 tokens here, and the input has 3031',
    ],
  ])('%s', (_name, body, text) => {
    const error = denialError(denial(400, body), 'vllm', exchange)
    expect(error).toMatchObject({ code: 'context_length_exceeded', param: 'messages' })
    expect(error.publicMessage).toContain(text)
    expect(streamedError(Buffer.from(JSON.stringify(body)), exchange).code).toBe('context_length_exceeded')
  })
})

describe.each(['vllm', 'sglang'] as const)('what %s refuses', (engine) => {
  const wrap = engine === 'vllm' ? vllm : sglang

  test('as wrong is wrong, in its words', () => {
    const error = denialError(denial(400, wrap('top_k must be -1 or more')), engine, exchange)
    expect(error).toMatchObject({ code: 'invalid_value', publicMessage: 'top_k must be -1 or more' })
  })

  test.each([404, 500, 503])('with status %i is a failure of the engine, not of an upstream', (status) => {
    const error = denialError(denial(status, wrap('broken inside')), engine, exchange)
    expect(error.code).toBe('engine_failed')
    expect(error.publicMessage).not.toContain('broken inside')
  })
})

describe('an error inside a stream', () => {
  test('is the request’s where it says so by status 400', () => {
    const body = Buffer.from(JSON.stringify({ error: sglang('bad regex') }))
    expect(streamedError(body, exchange)).toMatchObject({
      code: 'invalid_value',
      publicMessage: 'bad regex',
    })
  })

  test.each(['{"error":{"code":500,"message":"cuda"}}', '{"error":"cuda"}', 'no JSON'])(
    'is the engine’s otherwise: %s',
    (text) => {
      const error = streamedError(Buffer.from(text), exchange)
      expect(error.code).toBe('engine_failed')
      expect(error.publicMessage).not.toContain('cuda')
    },
  )
})

function denial(status: number, body: unknown) {
  return { status, body: Buffer.from(JSON.stringify(body)), retryAfter: undefined }
}
