/**
 * What a line of the log may say, by name. Whatever is not here is left out, so that nothing gets into the log because
 * somebody had it at hand: no prompt, answer, header, credential or address of a database has a name here.
 */
export const LOG_FIELDS: ReadonlySet<string> = new Set(
  (
    'address alert alias asked awayMs because budget by bytes cache cause channel clientRequest code compiler ' +
    'completionTokens contextLength description device devices directory dropped epoch error event exited ' +
    'extension failures file folder group id ids instance instanceId kept key kind labels lastLine lastSeq level ' +
    'line llamaCpp lockPath method migration model ms node notification nvcc outcome part partition path pid ' +
    'pieces problem producing project promptTokens purpose reason reasons receiver record replica request ' +
    'response responses rounds route routing segment segments severity signal silenceMs sizeBytes slots status ' +
    'stream supportsTools time tookMs trace tries type url used user vectors verdict version vocabularySize ' +
    'waitedMs what why'
  ).split(' '),
)

/** The same fields without those that have no name here. */
export function listed<Fields extends object>(fields: Fields): Partial<Fields> {
  for (const name in fields) if (!LOG_FIELDS.has(name)) return withoutUnlisted(fields)
  return fields
}

function withoutUnlisted<Fields extends object>(fields: Fields): Partial<Fields> {
  return Object.fromEntries(
    Object.entries(fields).filter(([name]) => LOG_FIELDS.has(name)),
  ) as Partial<Fields>
}
