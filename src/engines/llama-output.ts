/** Lines kept to explain why an engine ended. */
const LINES_MAX = 40
const LINE_CHARACTERS_MAX = 400

/** A line must not grow for ever; but one with a secret must be whole to be found out. */
const UNFINISHED_CHARACTERS_MAX = 65_536

export interface OutputOptions {
  /** Whether a line cannot hold a piece of a request; by default llama.cpp's own remarks cannot. */
  readonly isHarmless?: ((line: string) => boolean) | undefined
  /** Never kept, nor told. */
  readonly secret?: string | undefined
}

/**
 * What an engine prints, as lines; the last ones are kept. Once the engine serves requests, only lines pass that
 * cannot hold a piece of one: llama.cpp prints grammars, unparsed answers and rejected bodies as it finds them.
 */
export class LlamaOutput {
  private readonly kept: string[] = []
  private serving = false

  constructor(
    private readonly onLine: (line: string) => void,
    private readonly options: OutputOptions = {},
  ) {}

  /** From now on output may hold what users wrote. */
  beginServing(): void {
    this.serving = true
  }

  get lastLines(): readonly string[] {
    return this.kept
  }

  /** A reader of one stream; a line that its chunks break apart is put together again. */
  reader(): (text: string) => void {
    let rest = ''
    return (text) => {
      const lines = (rest + text).split('\n')
      rest = (lines.pop() ?? '').slice(0, UNFINISHED_CHARACTERS_MAX)
      for (const line of lines) this.add(line.trimEnd())
    }
  }

  private add(printed: string): void {
    const { isHarmless = isHarmlessRemark, secret } = this.options
    if (printed === '' || (this.serving && !isHarmless(printed))) return
    const shown = secret ? printed.replaceAll(secret, '(its key)') : printed
    const line = shown.slice(0, LINE_CHARACTERS_MAX)
    this.kept.push(line)
    if (this.kept.length > LINES_MAX) this.kept.shift()
    this.onLine(line)
  }
}

/** The server's own remarks, each with its time, level and part; but not those that quote. */
const OWN_REMARK = /^\d+\.\d\d\.\d{3}\.\d{3} [A-Z] (srv|slot|que|res|cmn) /
const QUOTES = /exception|error:|unparsed|grammar|template/i

/** The last words of a process. */
const CRASH =
  /GGML_ASSERT|GGML_ABORT|ggml_abort|CUDA error|terminate called|std::bad_alloc|out of memory|Sanitizer/

/** What is not known to be harmless is not: a new version of llama.cpp may print something new. */
function isHarmlessRemark(line: string): boolean {
  return (OWN_REMARK.test(line) && !QUOTES.test(line)) || CRASH.test(line)
}

/** Of the lines before a failed start, the one that says why. */
export function tellingLine(lines: readonly string[]): string | undefined {
  const telling =
    lines.findLast((line) => line.includes('error loading model: ')) ??
    lines.findLast((line) => CRASH.test(line)) ??
    lines.findLast((line) => /^error\b|^[\d.]+ E /.test(line)) ??
    lines.at(-1)
  return telling?.replace(/^[\d.]+ [A-Z] (?:srv\s+)?(?:\w+:\s*)?/, '')
}
