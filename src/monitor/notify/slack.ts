import type { SlackSettings } from '../../config/notification-settings.ts'
import type { Notification, NotifiedAlert } from '../alerts/notification.ts'
import { headlineOf, runbookLink, timeText } from './message-text.ts'
import { postJson } from './post-json.ts'
import type { ReceiverAnswer } from './receiver-answer.ts'
import type { Telling } from './telling.ts'

/** An incoming webhook of Slack, or of Mattermost, which shows `text` and passes over `blocks`. */
export function tellBySlack(
  { url }: SlackSettings,
  notification: Notification,
  telling: Telling,
): Promise<ReceiverAnswer> {
  return postJson({ url, body: JSON.stringify(slackMessage(notification, telling.runbookUrl)) }, telling)
}

/** Slack takes 50 blocks, and 3,000 characters in one. */
const ALERTS_MAX = 20
const SECTION_MAX = 3_000
const HEADER_MAX = 150

export function slackMessage(notification: Notification, runbookUrl: string | undefined): object {
  const { alerts } = notification
  const headline = headlineOf(notification)
  const sections = alerts.slice(0, ALERTS_MAX).map((alert) => sectionText(alert, runbookUrl))
  const more = alerts.length - sections.length
  if (more > 0) sections.push(`and ${more} more`)
  return {
    text: [`*${escaped(headline)}*`, ...sections].join('\n\n'),
    blocks: [
      { type: 'header', text: { type: 'plain_text', text: cut(headline, HEADER_MAX) } },
      ...sections.map((text) => ({
        type: 'section',
        text: { type: 'mrkdwn', text: cut(text, SECTION_MAX) },
      })),
      { type: 'context', elements: [{ type: 'mrkdwn', text: escaped(`id ${notification.id}`) }] },
    ],
  }
}

function sectionText(alert: NotifiedAlert, runbookUrl: string | undefined): string {
  const { status, summary, meaning, action, labels, startedAtMs } = alert
  const names = Object.entries(labels).map(([name, value]) => `\`${escaped(`${name}=${value}`)}\``)
  const runbook = runbookLink(alert, runbookUrl)
  const link = runbookUrl === undefined ? `\`${escaped(runbook)}\`` : `<${escaped(runbook)}|runbook>`
  const lines = [`*${escaped(summary)}*`, names.join(' '), `since ${timeText(startedAtMs)}`]
  const advice = [`*What it means:* ${escaped(meaning)}`, `*What to do:* ${escaped(action)}`, link]
  return [...lines, ...(status === 'firing' ? advice : ['resolved'])].filter((line) => line !== '').join('\n')
}

/** What would be read as markup, or as a call to everybody in the channel. */
function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}

function cut(text: string, lengthMax: number): string {
  return text.length <= lengthMax ? text : `${text.slice(0, lengthMax - 1)}…`
}
