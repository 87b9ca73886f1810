export type {
  ChatContent,
  ChatMessage,
  ChatParameters,
  ChatResponseFormat,
  ChatTool,
  ChatToolCall,
  ChatToolChoice,
  ResponseParameters,
} from './chat-parameters.ts'
export { HelixFlowClient } from './client.ts'
export type {
  ChatChunk,
  ChatEvent,
  ChatStream,
  ChatUsage,
  GenerationOptions,
  GenerationResult,
  GenerationStream,
  Position,
  ResponseEvent,
  ResponseStream,
  ResponseUsage,
} from './generation.ts'
export { HelixFlowError, type HelixFlowErrorDetails } from './helix-flow-error.ts'
export type { ClientEvents, HelixFlowOptions } from './options.ts'
export type { TopicSubscription, TopicUpdate } from './topic-updates.ts'
export type { WebSocketClass, WebSocketLike } from './web-socket.ts'
