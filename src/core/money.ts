/** Money is kept in billionths: whole numbers, whose sums are exact. */
const DECIMALS = 9
const UNIT = 10n ** BigInt(DECIMALS)

/**
 * `12.50` in billionths. Undefined for what is no decimal number, has more than nine decimals, or is too large to be
 * counted exactly (about nine million).
 */
export function parseMoney(text: string): number | undefined {
  const [, whole, decimals = ''] = /^(\d{1,7})(?:\.(\d{1,9}))?$/.exec(text) ?? []
  if (whole === undefined) return undefined
  const billionths = Number(whole + decimals.padEnd(DECIMALS, '0'))
  return Number.isSafeInteger(billionths) ? billionths : undefined
}

/** `12.5` of 12500000000 billionths, exactly. */
export function formatMoney(billionths: number | bigint): string {
  const amount = BigInt(billionths)
  const decimals = String(amount % UNIT)
    .padStart(DECIMALS, '0')
    .replace(/0+$/, '')
  return decimals === '' ? String(amount / UNIT) : `${amount / UNIT}.${decimals}`
}
