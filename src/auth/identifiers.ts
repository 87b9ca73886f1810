import { randomInt } from 'node:crypto'

const DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

/** 119 random bits: nobody meets or guesses one. */
const ID_LENGTH = 20

/** `proj_4kR...`: what it is, and which. */
export function newId(kind: 'org' | 'proj' | 'user' | 'sa' | 'lim'): string {
  return `${kind}_${randomDigits(ID_LENGTH)}`
}

/** Letters and digits, each as likely as any other. */
export function randomDigits(length: number): string {
  return Array.from({ length }, () => DIGITS.charAt(randomInt(DIGITS.length))).join('')
}
