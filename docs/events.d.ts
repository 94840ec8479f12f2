// The gateway's events, as types for socket.io-client. Generated from the server's own table: do not edit.
//
//   import { io, type Socket } from 'socket.io-client';
//   import type { ClientToServerEvents, ServerToClientEvents } from './events';
//
//   const socket: Socket<ServerToClientEvents, ClientToServerEvents> = io(url, { auth: { sessionId } });
//   const answer = await socket.emitWithAck('chat:join', { channel: 'global' });
//   if (answer.ok) answer.data.members; else answer.error.code;

/** What every event is answered with. */
export type Answer<Data, Code extends string> = { ok: true; data: Data } | { ok: false; error: Refusal<Code> };

/** What an event without data is answered with. */
export type Nothing = Record<string, never>;

/** What stands beside code and message, for the codes that every feature shares. */
export interface RefusalDetails {
  INVALID: { field: string; reason: string };
  RATE_LIMITED: { policy: string; scope: Policy['scope']; limit: number; remaining: number; windowMs: number; retryAfterMs: number; fatal?: true };
  UNAVAILABLE: { feature: string; retryAfterMs: number };
}

/** Why something is refused: compare code. The message is for people. */
export type Refusal<Code extends string = ErrorCode> = Code extends keyof RefusalDetails
  ? { code: Code; message: string } & RefusalDetails[Code]
  : { code: Code; message: string; [detail: string]: unknown };

/** The data of a connect_error that the server meant: log in again. */
export interface ConnectErrorData {
  code: 'SESSION_REQUIRED' | 'SESSION_INVALID' | 'BANNED' | 'TOO_MANY_CONNECTIONS' | 'ORIGIN_REFUSED';
  retryAfterMs?: number;
  reason?: string; // of BANNED
  until?: number; // of BANNED, Unix ms
}

/** The codes that any event may be refused with. */
export type SharedCode = 'INTERNAL' | 'INVALID' | 'PAYLOAD_TOO_LARGE' | 'RATE_LIMITED' | 'TIMEOUT' | 'UNAUTHENTICATED' | 'UNAVAILABLE';

export type ErrorCode =
  | 'BAD_ANSWER' // The answer was not valid.
  | 'BANNED' // You are banned.
  | 'CHAT_BANNED' // You have been banned from the chat.
  | 'CHAT_MUTED' // You have been muted.
  | 'COMBAT_ALREADY' // You are fighting each other already.
  | 'COMBAT_CHALLENGED' // You have challenged that player already.
  | 'COMBAT_CHALLENGE_OVER' // That challenge is over.
  | 'COMBAT_COOLDOWN' // That skill is not ready yet.
  | 'COMBAT_NO_ENERGY' // You have not enough energy for that.
  | 'COMBAT_OPPONENT_UNAVAILABLE' // That player can not fight now.
  | 'COMBAT_OVER' // That fight has ended.
  | 'COMBAT_TOO_MANY' // Finish one of your fights first.
  | 'COMBAT_TOO_SOON' // You are not ready to act again.
  | 'CONFLICT' // That was already asked for, with other words.
  | 'FORBIDDEN' // You may not do that.
  | 'INSUFFICIENT_GOLD' // You do not have enough gold.
  | 'INSUFFICIENT_ITEMS' // You do not have enough of that.
  | 'INTERNAL' // Something went wrong on our side.
  | 'INVALID' // The request is not valid.
  | 'ITEM_UNKNOWN' // There is no such item.
  | 'LOCKED' // Somebody else is at it. Please try again.
  | 'NOT_CONNECTED' // The connection has ended.
  | 'NOT_FOUND' // There is no such thing.
  | 'NOT_IN_CHANNEL' // Join the channel before you speak in it.
  | 'NO_ANSWER' // There was no answer in time.
  | 'NO_CHARACTER' // Choose a character first.
  | 'ORIGIN_REFUSED' // This page may not use your session
  | 'OTHER_SESSION' // This connection belongs to another session.
  | 'PAYLOAD_TOO_LARGE' // That message is too large.
  | 'RATE_LIMITED' // Too many requests. Please slow down.
  | 'SCORE_LIMIT' // The board can not count that many points.
  | 'SESSION_INVALID' // Invalid session
  | 'SESSION_REQUIRED' // No session provided
  | 'TIMEOUT' // That took too long.
  | 'TOO_MANY_CHANNELS' // You are in as many channels as one connection may be in.
  | 'TOO_MANY_CONNECTIONS' // You have too many connections.
  | 'TOO_MANY_IGNORED' // You ignore as many players as you may.
  | 'TOO_MANY_QUESTIONS' // Too many questions are open. Please try again.
  | 'TOO_MANY_ROOMS' // You are in too many rooms.
  | 'TRADE_EMPTY' // There is nothing in that trade.
  | 'TRADE_OPEN' // There is an open trade between you already.
  | 'TRADE_OVER' // That trade has ended.
  | 'TRADE_OVERFLOW' // That is more than a character can hold.
  | 'TRADE_SELF' // You can not trade with yourself.
  | 'TRADE_STALE' // The offer has changed. Look again.
  | 'TRADE_TOO_MANY_LINES' // That is too much for one trade.
  | 'TRADE_TOO_MANY_OPEN' // That is too many open trades.
  | 'TRADE_WRONG_CHARACTER' // That trade belongs to another of your characters.
  | 'UNAUTHENTICATED' // Please log in.
  | 'UNAVAILABLE' // That is not available right now. Please try again.
  | 'UNKNOWN_EVENT' // There is no such event.
  ;

/** Names a channel: "global", or "zone:", "guild:", "party:" or "combat:" followed by an id of 1 to 64 letters, digits, "_" and "-". */
export interface ChatChannel {
  /** (not empty) */
  channel: string;
}

/** Names a message to delete. */
export interface ChatDeleteRequest {
  /** (not empty) */
  channel: string;
  /** the message's id (not empty) */
  id: string;
  /** idempotencyKey, 1 to 64 printable characters, makes a repeat safe: within two minutes it gets the first answer. (at most 64 characters) */
  idempotencyKey?: string;
}

/** Sent to everybody in a channel, as the event chat:deleted. */
export interface ChatDeleted {
  channel: string;
  /** the message's id */
  id: string;
  /** the moderator's user id */
  by: string;
}

/** A message that a player wants to send to a channel. */
export interface ChatDraft {
  /** (not empty) */
  channel: string;
  /** 1 to 500 characters after Unicode normalization (NFC), at least one of them visible and none a control character. (not empty) */
  text: string;
  /** The sender's own name for the message. Everybody receives it with the message. Without an idempotencyKey, it is the idempotency key too. (at most 64 characters) */
  clientId?: string;
  /** idempotencyKey, 1 to 64 printable characters, makes a repeat safe: a message that is sent again to the same channel with its key within two minutes gets the first answer and is not said again. (at most 64 characters) */
  idempotencyKey?: string;
}

/** Answers chat:history. */
export interface ChatHistory {
  /** newest last */
  messages: ChatMessage[];
  /** What to send as before to get the previous page; absent when there is none. */
  next?: number;
}

/** The part of a channel's history to read. */
export interface ChatHistoryQuery {
  /** (not empty) */
  channel: string;
  /** A Unix time in ms: only messages before that time are returned. 0 means now. (at most 9007199254740991) */
  before?: number;
  /** How many messages to return; 0 means 50. (at most 100) */
  limit?: number;
}

/** Names the user whom the caller wants to ignore, or not to ignore any more. */
export interface ChatIgnoreRequest {
  /** (not empty, at most 128 characters) */
  userId: string;
}

/** Answers user:ignore and user:unignore. */
export interface ChatIgnored {
  userId: string;
  /** users whom the caller ignores now, at most 200 */
  total: number;
}

/** Answers user:ignored. */
export interface ChatIgnoredUsers {
  /** user ids, sorted */
  users: string[];
}

/** Names a sanction to lift before its end. */
export interface ChatLiftRequest {
  /** (not empty, at most 128 characters) */
  userId: string;
  /** The channel of the sanction, absent when the sanction holds in all channels. */
  channel?: string;
  /** idempotencyKey, 1 to 64 printable characters, makes a repeat safe: within two minutes it gets the first answer. (at most 64 characters) */
  idempotencyKey?: string;
}

/** Sent to everybody in a channel, as the event chat:message. */
export interface ChatMessage {
  /** a ULID; the ids of one node ascend in the order of sending */
  id: string;
  channel: string;
  from: ChatSender;
  text: string;
  /** Unix ms */
  at: number;
  /** what the sender gave as clientId */
  clientId?: string;
}

/** Answers chat:join and chat:leave. */
export interface ChatOccupancy {
  channel: string;
  /** connections in the channel now, on this node only */
  members: number;
}

/** Answers chat:message. */
export interface ChatReceipt {
  id: string;
  /** Unix ms */
  at: number;
  /** True when Redis can not be used: only the members on this node have received the message. The others receive it when Redis is back, unless this node ends before. */
  local?: boolean;
}

/** Sent to a connection that was taken out of a channel, as the event chat:left. */
export interface ChatRemoved {
  channel: string;
  /** Why: NOT_IN_CHANNEL for a player who is no longer a member, CHAT_BANNED for one who was banned. A channel that the game's own server wants the connection in, and that could not be joined, has the code of chat:join: after UNAVAILABLE, TIMEOUT and INTERNAL the client may join later. */
  code: 'NOT_IN_CHANNEL' | 'CHAT_BANNED' | 'TOO_MANY_CHANNELS' | 'UNAVAILABLE' | 'TIMEOUT' | 'INTERNAL';
}

/** Names a message that the game's staff should look at. */
export interface ChatReportRequest {
  /** (not empty) */
  channel: string;
  /** the message's (not empty) */
  id: string;
  /** For the staff. (at most 500 characters) */
  reason?: string;
}

/** Answers chat:report. */
export interface ChatReported {
  channel: string;
  id: string;
}

/** A mute or a ban. All devices of the player receive it as chat:sanction. */
export interface ChatSanction {
  kind: 'mute' | 'ban';
  userId: string;
  /** absent: all channels */
  channel?: string;
  /** Unix ms; 0 when the sanction was lifted */
  until: number;
  /** the moderator's user id */
  by: string;
  reason?: string;
}

/** The sanction that a moderator imposes on a player. */
export interface ChatSanctionRequest {
  /** (not empty, at most 128 characters) */
  userId: string;
  /** Where the sanction holds. When it is absent, the sanction holds in all channels and for whispers. */
  channel?: string;
  /** How long the sanction holds in ms, from a second to a year. (at least 1000, at most 31622400000) */
  forMs: number;
  /** Shown to the player. (at most 200 characters) */
  reason?: string;
  /** idempotencyKey, 1 to 64 printable characters, makes a repeat safe: within two minutes it gets the first answer. (at most 64 characters) */
  idempotencyKey?: string;
}

/** Who wrote a message, as they were when they sent it. */
export interface ChatSender {
  userId: string;
  username: string;
  /** "" when no character was chosen */
  characterId: string;
}

/** Sent to everybody in a channel, as the event chat:slowed. */
export interface ChatSlowMode {
  channel: string;
  /** How long each player waits between two messages; 0 means that slow mode is off. */
  everyMs: number;
  /** the moderator's user id */
  by: string;
}

/** Sets the slow mode of a channel. */
export interface ChatSlowModeRequest {
  /** (not empty) */
  channel: string;
  /** How long each player waits between two messages, up to an hour in ms; 0 switches slow mode off. (at most 3600000) */
  everyMs: number;
  /** idempotencyKey, 1 to 64 printable characters, makes a repeat safe: within two minutes it gets the first answer. (at most 64 characters) */
  idempotencyKey?: string;
}

/** A message that a player wants to send to one user. */
export interface ChatWhisperDraft {
  /** A user id. (not empty, at most 128 characters) */
  to: string;
  /** Follows the same rules as the text of chat:message. (not empty) */
  text: string;
  /** As in chat:message, but must differ for all of the sender's whispers, whoever they go to. (at most 64 characters) */
  clientId?: string;
  /** As in chat:message, but must differ for all of the sender's whispers. (at most 64 characters) */
  idempotencyKey?: string;
}

/** Sent to all devices of one user, as the event chat:whisper. */
export interface ChatWhisperMessage {
  id: string;
  from: ChatSender;
  text: string;
  /** Unix ms */
  at: number;
  /** what the sender gave as clientId */
  clientId?: string;
}

/** Answers chat:whisper. */
export interface ChatWhisperReceipt {
  id: string;
  /** Unix ms */
  at: number;
  /** Says that at least one device of the user received the whisper. A whisper to a user who is offline is not kept, and one to a user who ignores the sender is answered like that. */
  delivered: boolean;
  /** True when Redis can not be used: only devices on this node have received the whisper. The others receive it when Redis is back, unless this node ends before. */
  local?: boolean;
}

/** The payload of session:character. */
export interface Choice {
  /** (not empty, at most 128 characters) */
  characterId: string;
  /** idempotencyKey, 1 to 64 printable characters, makes a repeat safe: within two minutes it gets the first answer, and a choice that was made meanwhile stays. (at most 64 characters) */
  idempotencyKey?: string;
}

/** Answers session:time. */
export interface Clock {
  /** The server's clock when it took up the event, Unix µs. A client that notes when it sent the event and when it had the answer is ahead of the server by the middle of the two less this, wrong by at most half of their distance. */
  serverTimeUs: number;
  /** How long the last ping of this connection took, there and back; absent before the first one. */
  roundTripUs?: number;
}

/** Says why a connection will be closed. */
export interface Closing {
  code: 'SLOW_CONSUMER' | 'DRAINING' | 'SHUTTING_DOWN';
  /** when to come back: different for each client */
  reconnectInMs: number;
}

/** One thing that one participant did in a turn. */
export interface CombatAct {
  by: string;
  /** attack, defend, skill, flee or mend */
  action: string;
  target?: string;
  /** hit, critical, miss, guard, fled, caught or mended */
  result: string;
  /** hp that the target lost */
  damage?: number;
  /** hp that the participant got back */
  healed?: number;
}

/** What a player wants to do in a fight. */
export interface CombatAction {
  /** (not empty, at most 64 characters) */
  combatId: string;
  action: 'attack' | 'defend' | 'skill' | 'flee';
  /** The id of the participant that attack and skill hit. When it is absent, they hit the opponent. (at most 128 characters) */
  target?: string;
  /** The caller's own name for this action. An action that is sent again with the same key is not played a second time and gets the first answer. */
  idempotencyKey?: string;
}

/** Sent to the player whom somebody wants to fight, as the event combat:challenged, and again when that player connects meanwhile. combat:accept and combat:decline answer it. */
export interface CombatChallenge {
  challengeId: string;
  from: CombatChallenger;
  /** the character that was challenged */
  opponentId: string;
  /** the challenge is over by itself then */
  expiresInMs: number;
}

/** Names the challenge to accept or to decline. */
export interface CombatChallengeAnswer {
  /** (not empty, at most 64 characters) */
  challengeId: string;
  /** The caller's own name for this answer. If it is sent again with the same key, it gets the first answer. */
  idempotencyKey?: string;
}

/** Sent to both players when a challenge ends without a fight before its time, as the event combat:cancelled. */
export interface CombatChallengeCancelled {
  challengeId: string;
  /** Declined: by the challenged player; replaced: by a newer challenge of somebody else; left: the challenger was not online any more when it was accepted. */
  reason: 'declined' | 'replaced' | 'left';
}

/** Answers combat:decline. */
export interface CombatChallengeDeclined {
  challengeId: string;
}

/** Answers combat:start with the id of another player's character, who has to accept. */
export interface CombatChallenged {
  challengeId: string;
  /** the challenge is over by itself then */
  expiresInMs: number;
}

/** The player who wants to fight. */
export interface CombatChallenger {
  userId: string;
  /** the user's id when the player has chosen no character */
  characterId: string;
  name: string;
}

/** Answers combat:duels. */
export interface CombatDuels {
  open: boolean;
}

/** Says whether everybody may begin a fight with the caller. Without open, nothing is changed. */
export interface CombatDuelsRequest {
  open?: boolean;
}

/** Sent to everybody who follows the fight, as its last event, combat:ended. */
export interface CombatEnding {
  combatId: string;
  /** a participant's id; empty when nobody won */
  winner: string;
  /** defeated, fled or abandoned */
  outcome: string;
  /** what the winner was paid */
  rewards: CombatRewards;
  /** Says that the victory was neither paid nor counted, because these two characters have had five paid victories over each other since 00:00 UTC. */
  unpaid?: boolean;
  /** the version of the fight's last state */
  version: number;
}

/** What happened in one turn. */
export interface CombatEvent {
  turn: number;
  /** whose move it was: a participant's id; empty for a timeout */
  by: string;
  /** Attack, defend, skill or flee; timeout when the fight was abandoned. */
  action: string;
  /** the id of the participant that attack and skill hit */
  target?: string;
  /** Everything that was done in this turn, in order, including what an NPC did. */
  acts: CombatAct[];
}

/** Answers combat:list with the caller's running fights, oldest first. */
export interface CombatFights {
  combats: CombatState[];
}

/** A quantity of one item. */
export interface CombatItem {
  itemId: string;
  qty: number;
}

/** Answers combat:action. */
export interface CombatOutcome {
  event: CombatEvent;
  state: CombatState;
}

/** One of the fighters. The player who started the fight comes first. */
export interface CombatParticipant {
  /** The character's id, or the user's id when the player has chosen no character; for an NPC it is "npc:" and its name. */
  id: string;
  /** player or npc */
  kind: string;
  userId?: string;
  characterId?: string;
  name: string;
  maxHp: number;
  maxEnergy: number;
  attack: number;
  defense: number;
  speed: number;
  /** 0 to maxHp; at 0 the participant is dead and does nothing more */
  hp: number;
  /** 0 to maxEnergy; a skill costs 20 */
  energy: number;
  /** The first turn in which the skill may be used again. */
  skillTurn: number;
  /** Halves the damage of strikes against the participant, until its next move. */
  guarding: boolean;
  /** When a player may move again, Unix ms; 0 for an NPC. */
  nextActionAt: number;
}

/** What the winner of a fight gets. */
export interface CombatRewards {
  items: CombatItem[];
  gold: number;
}

/** Names the opponent of a new fight: either an NPC or another player. */
export interface CombatStartRequest {
  /** The name of an opponent that the server plays, such as goblin. The answer to an unknown name lists all. (at most 64 characters) */
  npc?: string;
  /** The id of another player's character. (at most 128 characters) */
  opponentId?: string;
  /** The caller's own name for this start. A start that is sent again with the same key begins no second fight and gets the first answer. */
  idempotencyKey?: string;
}

/** Sent to both users of a fight between players, before any update, as the event combat:started. */
export interface CombatStarted {
  combatId: string;
  /** The challenge that was accepted; absent where one let all in. */
  challengeId?: string;
  state: CombatState;
}

/** A fight as players see it. */
export interface CombatState {
  combatId: string;
  /** 1 at the start and grows by one with each change: of two states of a fight, the one with the higher version is newer. */
  version: number;
  /** active or ended */
  status: string;
  /** The number of the next turn, from 1. */
  turn: number;
  participants: CombatParticipant[];
  /** A participant's id; absent while the fight runs, and when nobody won. */
  winner?: string;
  /** Defeated, fled or abandoned; absent while the fight runs. */
  outcome?: string;
  /** Unix ms */
  startedAt: number;
  /** Unix ms */
  updatedAt: number;
}

/** Names the fight to read. */
export interface CombatStateRequest {
  /** (not empty, at most 64 characters) */
  combatId: string;
}

/** Sent to everybody who follows the fight, as the event combat:update. */
export interface CombatUpdate {
  combatId: string;
  event: CombatEvent;
  state: CombatState;
}

/** Says why a session is over. */
export interface Ended {
  code: 'SESSION_REVOKED' | 'SESSION_EXPIRED' | 'LOGGED_OUT' | 'REPLACED' | 'BANNED';
  reason: string;
}

/** Says that a session is about to run out. */
export interface Expiring {
  expiresInMs: number;
}

/** Says whether a feature works. */
export type Health = 'ok' | 'local' | 'stale' | 'paused';

/** One line of a board. */
export interface LeaderboardEntry {
  /** from 1 */
  rank: number;
  /** of the character, or of the user if there is none */
  id: string;
  name: string;
  score: number;
}

/** Names a board, and how many entries around the caller to return. */
export interface LeaderboardNear {
  /** (not empty, at most 32 characters) */
  name: string;
  /** How many entries to return before the caller's, and how many after it, 0 to 50; 5 if it is absent. (at most 50) */
  span?: number;
}

/** A part of a board. */
export interface LeaderboardPage {
  /** of the board */
  name: string;
  /** the beginning of the week, Unix ms */
  from?: number;
  /** the end of the week, Unix ms */
  until?: number;
  /** how many players are on the board */
  total: number;
  /** by rank */
  entries: LeaderboardEntry[];
}

/** Where the caller is on a board. */
export interface LeaderboardPlace {
  name: string;
  /** how many players are on the board */
  total: number;
  /** from 1; absent if the caller is not on the board */
  rank?: number;
  /** absent if the caller is not on the board */
  score?: number;
}

/** Names a board, and how much of it to return. */
export interface LeaderboardWant {
  /** Global, weekly, or weekly:2026-11-23 for the week that began on that Monday, one of the last eight. (not empty, at most 32 characters) */
  name: string;
  /** How many entries to return, 1 to 100; 10 if it is absent. (at least 1, at most 100) */
  limit?: number;
}

/** Names a board. */
export interface LeaderboardWhich {
  /** (not empty, at most 32 characters) */
  name: string;
}

/** Says how much a player may do. */
export interface Limits {
  policies: Policy[];
}

/** Says which sessions end. */
export interface LogoutRequest {
  /** Ends all sessions of the user, on all devices. */
  everywhere?: boolean;
}

/** One limit: a number of events in any window of a given length. */
export interface Policy {
  name: string;
  limit: number;
  windowMs: number;
  scope: 'user' | 'session' | 'ip' | 'connection' | 'key' | 'global';
  /** How much of the limit one event takes, where that is not 1. */
  cost?: number;
  /** How much of the limit is left. It is sent when that is less than a fifth. */
  remaining?: number;
}

/** Answers session:ping. */
export interface Pong {
  /** what is left of the session */
  ttlMs: number;
  /** Unix ms */
  serverTime: number;
}

/** Says that a user has joined or left a channel. */
export interface PresenceMovement {
  channel: string;
  user: PresenceUser;
}

/** The users that a question is about. */
export interface PresenceNames {
  /** user ids (at least 1 entries, at most 100 entries) */
  users: string[];
}

/** How many users are there, however many devices they use. */
export interface PresenceNumber {
  count: number;
}

/** A part of the users who are there, ordered by user id. */
export interface PresencePage {
  users: PresenceUser[];
  /** users who are there, on all pages */
  total: number;
  /** The After of the next page; absent on the last page. */
  next?: string;
}

/** Names a channel, or the whole game. */
export interface PresencePlace {
  /** absent: the whole game (at most 128 characters) */
  channel?: string;
}

/** Asks who is in a channel, or online. */
export interface PresenceQuery {
  /** A channel that the player is in; without it, the question is who is online. (at most 128 characters) */
  channel?: string;
  /** The Next of the previous page. (at most 128 characters) */
  after?: string;
  /** How many users to return; 0 is 100. (at most 200) */
  limit?: number;
}

/** What is known of one user. */
export interface PresenceSighting {
  userId: string;
  online: boolean;
  /** When a user who is not online was last online, Unix ms; absent if that is not known, or too long ago. */
  lastSeenAt?: number;
}

/** The answers, in the order of the user ids. */
export interface PresenceSightings {
  users: PresenceSighting[];
}

/** What other players see of a user. */
export interface PresenceUser {
  userId: string;
  username: string;
  /** "" while none is chosen */
  characterId: string;
}

/** What both parties see. Of a gift the giver is the first party, and expiresAt is until when the trade is shown and its idempotency key remembered. */
export interface Trade {
  tradeId: string;
  status: TradeStatus;
  version: number;
  /** two */
  parties: TradeParty[];
  /** Unix ms */
  createdAt: number;
  /** Unix ms */
  expiresAt: number;
  /** failed: a code; cancelled: the user id of who did it, or "replaced" */
  reason?: string;
}

/** The payload of trade:accept. */
export interface TradeAgreement {
  /** (not empty, at most 64 characters) */
  tradeId: string;
  /** (at least 1) */
  version: number;
  /** As in trade:offer. */
  idempotencyKey?: string;
}

/** The payload of trade:state. */
export interface TradeAsk {
  /** (not empty, at most 64 characters) */
  tradeId: string;
}

/** The payload of trade:cancel. */
export interface TradeCancellation {
  /** (not empty, at most 64 characters) */
  tradeId: string;
  /** As in trade:offer. */
  idempotencyKey?: string;
}

/** The payload of trade:execute. */
export interface TradeGift {
  /** a user id */
  to: string;
  give: TradeGoods;
  /** The caller's own name for this gift, 1 to 128 characters. */
  idempotencyKey: string;
}

/** What one side gives, or what a character has: items, each named once, and gold. */
export interface TradeGoods {
  items: TradeLine[];
  /** 0 to 1,000,000,000,000 */
  gold: number;
}

/** A quantity of one item. */
export interface TradeLine {
  itemId: string;
  /** 1 to 1,000,000,000,000 */
  qty: number;
}

/** One side of a trade. */
export interface TradeParty {
  userId: string;
  characterId: string;
  offer: TradeGoods;
  accepted: boolean;
}

/** The payload of trade:propose. */
export interface TradeProposal {
  /** a user id */
  to: string;
  /** The caller's own name for this proposal, 1 to 64 characters. If it is sent again with the same key, it opens no second trade and gets the first answer. */
  idempotencyKey?: string;
}

/** How far a trade is. */
export type TradeStatus = 'open' | 'settling' | 'completed' | 'cancelled' | 'expired' | 'failed';

/** The payload of trade:offer: all that the caller gives, in place of what they offered before. */
export interface TradeTerms {
  /** (not empty, at most 64 characters) */
  tradeId: string;
  items: TradeLine[];
  gold: number;
  /** the version that it changes (at least 1) */
  version: number;
  /** The caller's own name for this offer, 1 to 64 characters. If it is sent again with the same key, it gets the first answer and changes nothing. */
  idempotencyKey?: string;
}

/** Says who the player is. */
export interface Welcome {
  sessionId: string;
  userId: string;
  username: string;
  /** "" while none is chosen */
  characterId: string;
  roles: string[];
  /** how long the session lasts from the last activity */
  ttlMs: number;
  /** Unix ms */
  expiresAt: number;
  /** Unix ms */
  serverTime: number;
  /** the gateway's process */
  node: string;
  /** Says that the connection goes on where an earlier one ended: what was missed follows, and the rooms are joined. */
  recovered: boolean;
  /** How long the last ping of this connection took, there and back; absent before the first one. */
  roundTripUs?: number;
  /** Those that the game's own server has the connection join; chat:left follows for one that it may not be in. Absent where there are none. */
  channels?: string[];
  /** Those that the game's own server has the connection join. Absent where there are none. */
  rooms?: string[];
  /** What the game's own server says to this player when it connects. Absent where it says nothing. */
  data?: unknown;
}

/** What clients send. The acknowledgement is not optional here, since emitWithAck would lose its types. */
export interface ClientToServerEvents {
  /** Removes a player from one channel or from all, and keeps them out. A new ban replaces the one before. Limited by moderation. For moderator or admin only. */
  'chat:ban': (payload: ChatSanctionRequest, ack: (answer: Answer<ChatSanction, SharedCode | 'CONFLICT' | 'FORBIDDEN'>) => void) => void;
  /** Removes a message from the history of a channel and sends chat:deleted to its members. Limited by moderation. For moderator or admin only. */
  'chat:delete': (payload: ChatDeleteRequest, ack: (answer: Answer<ChatDeleted, SharedCode | 'FORBIDDEN' | 'NOT_FOUND'>) => void) => void;
  /** Reads the latest messages of a channel that the caller is in. Reading page after page misses no message: a page never splits the messages of one millisecond, so it may hold a few messages more or fewer than the limit. An entry that cannot be read is left out and reported. Limited by reads. */
  'chat:history': (payload: ChatHistoryQuery, ack: (answer: Answer<ChatHistory, SharedCode | 'NOT_IN_CHANNEL'>) => void) => void;
  /** Puts the caller's connection into a channel. Joining twice is the same as joining once. Limited by rooms. */
  'chat:join': (payload: ChatChannel, ack: (answer: Answer<ChatOccupancy, SharedCode | 'CHAT_BANNED' | 'FORBIDDEN' | 'TOO_MANY_CHANNELS'>) => void) => void;
  /** Takes the caller's connection out of a channel. Leaving twice is the same as leaving once. Limited by rooms. */
  'chat:leave': (payload: ChatChannel, ack: (answer: Answer<ChatOccupancy, SharedCode | 'FORBIDDEN'>) => void) => void;
  /** Sends a message to everybody in a channel, the sender included. Where casts are logged, the answer means that Redis has the message, so that every member will receive it, and so that the history has it; or it says Local. Otherwise it comes once the message is under way. Limited by chat. */
  'chat:message': (payload: ChatDraft, ack: (answer: Answer<ChatReceipt, SharedCode | 'CHAT_BANNED' | 'CHAT_MUTED' | 'CONFLICT' | 'FORBIDDEN' | 'LOCKED' | 'NOT_IN_CHANNEL'>) => void) => void;
  /** Forbids a player to speak, in one channel or everywhere. A new mute replaces the one before. Limited by moderation. For moderator or admin only. */
  'chat:mute': (payload: ChatSanctionRequest, ack: (answer: Answer<ChatSanction, SharedCode | 'CONFLICT' | 'FORBIDDEN'>) => void) => void;
  /** Hands a message of a channel that the caller is in to the game's staff: the gateway logs it, and tells the receiver of webhooks. A message that the same player reported within the last hour is answered alike, and told to nobody. Limited by chat. */
  'chat:report': (payload: ChatReportRequest, ack: (answer: Answer<ChatReported, SharedCode | 'NOT_FOUND' | 'NOT_IN_CHANNEL'>) => void) => void;
  /** Sets the slow mode of a channel: every player, except moderators, must wait between two messages. Limited by moderation. For moderator or admin only. */
  'chat:slow': (payload: ChatSlowModeRequest, ack: (answer: Answer<ChatSlowMode, SharedCode | 'FORBIDDEN'>) => void) => void;
  /** Lifts a ban. Limited by moderation. For moderator or admin only. */
  'chat:unban': (payload: ChatLiftRequest, ack: (answer: Answer<ChatSanction, SharedCode | 'FORBIDDEN' | 'NOT_FOUND'>) => void) => void;
  /** Lifts a mute. Limited by moderation. For moderator or admin only. */
  'chat:unmute': (payload: ChatLiftRequest, ack: (answer: Answer<ChatSanction, SharedCode | 'FORBIDDEN' | 'NOT_FOUND'>) => void) => void;
  /** Sends a message to all devices of one user. With an idempotency key it is sent at most once: when the node died that was sending it, a repeat is TIMEOUT, because the devices may have received it. Limited by chat. */
  'chat:whisper': (payload: ChatWhisperDraft, ack: (answer: Answer<ChatWhisperReceipt, SharedCode | 'CHAT_BANNED' | 'CHAT_MUTED' | 'CONFLICT' | 'LOCKED'>) => void) => void;
  /** Begins the fight to which another player has challenged the caller's character. All devices of both players receive combat:started and all that follows. Accepting again, also from another device, gets the same fight. Limited by rooms. */
  'combat:accept': (payload: CombatChallengeAnswer, ack: (answer: Answer<CombatState, SharedCode | 'COMBAT_ALREADY' | 'COMBAT_CHALLENGE_OVER' | 'COMBAT_OPPONENT_UNAVAILABLE' | 'COMBAT_TOO_MANY' | 'LOCKED'>) => void) => void;
  /** Plays one turn, and sends combat:update to everybody who follows the fight. Actions that arrive at the same time are played one after the other, each on the state that the one before left. Limited by combat. */
  'combat:action': (payload: CombatAction, ack: (answer: Answer<CombatOutcome, SharedCode | 'COMBAT_COOLDOWN' | 'COMBAT_NO_ENERGY' | 'COMBAT_OVER' | 'COMBAT_TOO_SOON' | 'FORBIDDEN' | 'LOCKED' | 'NOT_FOUND'>) => void) => void;
  /** Refuses a challenge, and tells both players combat:cancelled. Declining twice is the same as declining once. Limited by rooms. */
  'combat:decline': (payload: CombatChallengeAnswer, ack: (answer: Answer<CombatChallengeDeclined, SharedCode | 'COMBAT_CHALLENGE_OVER'>) => void) => void;
  /** Says whether combat:start of other players begins a fight with the caller at once, without a challenge. It holds on all devices until it is changed, and not for players whom the caller ignores. Limited by rooms. */
  'combat:duels': (payload: CombatDuelsRequest, ack: (answer: Answer<CombatDuels, SharedCode>) => void) => void;
  /** Reads the caller's running fights, including those that other players started. From then on the connection receives the events of each. Limited by reads. */
  'combat:list': (ack: (answer: Answer<CombatFights, SharedCode>) => void) => void;
  /** Begins a fight against an NPC, whose events the caller's connection receives, or asks the player of another character for one. The other player, who must be online, receives combat:challenged and has 30 seconds for combat:accept or combat:decline. With a player who let all in (combat:duels), the fight begins at once. When a fight between players begins, all devices of both receive combat:started and all that follows. A challenge counts as one of the caller's fights while it is open. If ten others have challenged the same character, the oldest of these challenges ends. A player who ignores the caller is not told of the challenge. Limited by rooms. */
  'combat:start': (payload: CombatStartRequest, ack: (answer: Answer<CombatState | CombatChallenged, SharedCode | 'COMBAT_ALREADY' | 'COMBAT_CHALLENGED' | 'COMBAT_OPPONENT_UNAVAILABLE' | 'COMBAT_TOO_MANY' | 'NOT_FOUND'>) => void) => void;
  /** Reads a fight. From then on a participant's connection receives the fight's events, so a client that lost its connection continues with this event. Limited by reads. */
  'combat:state': (payload: CombatStateRequest, ack: (answer: Answer<CombatState, SharedCode | 'NOT_FOUND'>) => void) => void;
  /** Lists what the caller's character owns, by item id. Limited by reads. */
  'inventory:list': (ack: (answer: Answer<TradeGoods, SharedCode>) => void) => void;
  /** Returns the entries around the caller's character; none if it is not on the board. Limited by reads. */
  'leaderboard:around': (payload: LeaderboardNear, ack: (answer: Answer<LeaderboardPage, SharedCode | 'NOT_FOUND'>) => void) => void;
  /** Returns where the caller's character is on a board. Limited by reads. */
  'leaderboard:rank': (payload: LeaderboardWhich, ack: (answer: Answer<LeaderboardPlace, SharedCode | 'NOT_FOUND'>) => void) => void;
  /** Returns the top of a board. Limited by reads. */
  'leaderboard:top': (payload: LeaderboardWant, ack: (answer: Answer<LeaderboardPage, SharedCode | 'NOT_FOUND'>) => void) => void;
  /** Returns how many users are in a channel, or online. Limited by reads. */
  'presence:count': (payload: PresencePlace, ack: (answer: Answer<PresenceNumber, SharedCode | 'NOT_IN_CHANNEL'>) => void) => void;
  /** Returns who is in a channel, or online. A user of whom nothing readable is stored is left out and reported. Limited by reads. */
  'presence:list': (payload: PresenceQuery, ack: (answer: Answer<PresencePage, SharedCode | 'NOT_IN_CHANNEL'>) => void) => void;
  /** Returns which of the users are online, and when the others were last online. Limited by reads. */
  'presence:seen': (payload: PresenceNames, ack: (answer: Answer<PresenceSightings, SharedCode>) => void) => void;
  /** Chooses the character that the session plays, for all its connections to this node. Limited by rooms. */
  'session:character': (payload: Choice, ack: (answer: Answer<Welcome, SharedCode>) => void) => void;
  /** Ends the session, or all of its user. The answer comes before session:revoked. */
  'session:logout': (payload: LogoutRequest, ack: (answer: Answer<Nothing, SharedCode>) => void) => void;
  /** Answers how much of the session is left. It counts as activity. */
  'session:ping': (ack: (answer: Answer<Pong, SharedCode>) => void) => void;
  /** Answers what the server's clock says, in µs. It does not count as activity. */
  'session:time': (ack: (answer: Answer<Clock, SharedCode>) => void) => void;
  /** Agrees to one version. When the other has too, goods change hands at once and both are told trade:completed; else both are told trade:updated. Repeating it is safe. A settlement that one side can not keep any more ends the trade: it is failed, with the code as its reason, and both are told trade:cancelled. Limited by trade. */
  'trade:accept': (payload: TradeAgreement, ack: (answer: Answer<Trade, SharedCode | 'INSUFFICIENT_GOLD' | 'INSUFFICIENT_ITEMS' | 'ITEM_UNKNOWN' | 'LOCKED' | 'NOT_FOUND' | 'TRADE_EMPTY' | 'TRADE_OVER' | 'TRADE_OVERFLOW' | 'TRADE_STALE' | 'TRADE_WRONG_CHARACTER'>) => void) => void;
  /** Ends an open trade and tells both trade:cancelled. Repeating it is safe. Limited by trade. */
  'trade:cancel': (payload: TradeCancellation, ack: (answer: Answer<Trade, SharedCode | 'LOCKED' | 'NOT_FOUND' | 'TRADE_OVER'>) => void) => void;
  /** Settles a one-sided gift at once and tells both sides trade:completed. The receiver need not be online. Limited by trade. */
  'trade:execute': (payload: TradeGift, ack: (answer: Answer<Trade, SharedCode | 'CONFLICT' | 'INSUFFICIENT_GOLD' | 'INSUFFICIENT_ITEMS' | 'ITEM_UNKNOWN' | 'LOCKED' | 'NOT_FOUND' | 'TRADE_EMPTY' | 'TRADE_OVERFLOW' | 'TRADE_SELF' | 'TRADE_TOO_MANY_LINES'>) => void) => void;
  /** Changes what the caller gives, raises the version, takes back both acceptances, and tells both trade:updated. An offer is a promise: goods stay where they are until both have accepted. Limited by trade. */
  'trade:offer': (payload: TradeTerms, ack: (answer: Answer<Trade, SharedCode | 'INSUFFICIENT_GOLD' | 'INSUFFICIENT_ITEMS' | 'ITEM_UNKNOWN' | 'LOCKED' | 'NOT_FOUND' | 'TRADE_OVER' | 'TRADE_OVERFLOW' | 'TRADE_STALE' | 'TRADE_TOO_MANY_LINES' | 'TRADE_WRONG_CHARACTER'>) => void) => void;
  /** Opens a trade with nothing in it, and tells both trade:proposed. It expires by itself. If ten others have proposed a trade to the other, the oldest of these trades is cancelled, with the reason "replaced". A user who ignores the caller is not told. Limited by trade. */
  'trade:propose': (payload: TradeProposal, ack: (answer: Answer<Trade, SharedCode | 'LOCKED' | 'NOT_FOUND' | 'TRADE_OPEN' | 'TRADE_SELF' | 'TRADE_TOO_MANY_OPEN'>) => void) => void;
  /** Shows a trade to its parties; to all others it is NOT_FOUND. Limited by reads. */
  'trade:state': (payload: TradeAsk, ack: (answer: Answer<Trade, SharedCode | 'NOT_FOUND'>) => void) => void;
  /** Makes the caller deaf to a user on all devices, from now on: the user's whispers, proposed trades and challenges do not arrive. The user is not told: whispers are answered as if the caller were offline, the others as if the caller did not react. Ignoring twice is the same as ignoring once. Limited by rooms. */
  'user:ignore': (payload: ChatIgnoreRequest, ack: (answer: Answer<ChatIgnored, SharedCode | 'TOO_MANY_IGNORED'>) => void) => void;
  /** Lists the users whom the caller ignores. Limited by reads. */
  'user:ignored': (ack: (answer: Answer<ChatIgnoredUsers, SharedCode>) => void) => void;
  /** Ends what user:ignore began. It is no error when the caller does not ignore the user. Limited by rooms. */
  'user:unignore': (payload: ChatIgnoreRequest, ack: (answer: Answer<ChatIgnored, SharedCode>) => void) => void;
}

/** What an event takes beside its acknowledgement. */
export type PayloadOf<Event extends keyof ClientToServerEvents> = Parameters<ClientToServerEvents[Event]> extends [...infer Payload, unknown] ? Payload : [];

/**
 * A socket that may also send without an acknowledgement, and keeps the types of emitWithAck. A refusal then comes as the event error.
 *
 *   const socket = io(url) as GameSocket<Socket<ServerToClientEvents, ClientToServerEvents>>;
 *   socket.emit('chat:message', { channel: 'global', text: 'hello' });
 */
export type GameSocket<TypedSocket> = TypedSocket & {
  emit<Event extends keyof ClientToServerEvents>(event: Event, ...payload: PayloadOf<Event>): TypedSocket;
};

/** What the server sends. An offset is there for clients that come back; it is no concern of a listener. */
export interface ServerToClientEvents {
  /** A moderator deleted a message in a channel that you are in. */
  'chat:deleted': (payload: ChatDeleted, offset?: string) => void;
  /** You may not be in a channel any more, and were taken out of it: code says why. */
  'chat:left': (payload: ChatRemoved, offset?: string) => void;
  /** Somebody wrote in a channel that you are in. The sender receives it too. */
  'chat:message': (payload: ChatMessage, offset?: string) => void;
  /** You were muted or banned. When the sanction is lifted, you receive it again with until 0. */
  'chat:sanction': (payload: ChatSanction, offset?: string) => void;
  /** Slow mode was set in a channel that you are in. everyMs is 0 when it was switched off. */
  'chat:slowed': (payload: ChatSlowMode, offset?: string) => void;
  /** Somebody wrote to you alone. All your devices receive it. */
  'chat:whisper': (payload: ChatWhisperMessage, offset?: string) => void;
  /** A challenge of yours, or to you, has ended without a fight. None is sent when its time is over. */
  'combat:cancelled': (payload: CombatChallengeCancelled, offset?: string) => void;
  /** Another player wants to fight your character; also when you come back while the challenge is open. */
  'combat:challenged': (payload: CombatChallenge, offset?: string) => void;
  /** A fight that you follow is over and settled. It is the fight's last event. */
  'combat:ended': (payload: CombatEnding, offset?: string) => void;
  /** A fight between you and another player has begun. Both players receive it. */
  'combat:started': (payload: CombatStarted, offset?: string) => void;
  /** A turn was played in a fight that you follow. */
  'combat:update': (payload: CombatUpdate, offset?: string) => void;
  /** A refusal of an event that was sent without an acknowledgement, or of a frame. */
  'error': (payload: Refusal) => void;
  /** This connection is about to be closed; the client comes back by itself. */
  'gateway:closing': (payload: Closing) => void;
  /** Which features work, by name, whenever that changes. With moved (true), another Redis took the place of the one before: what was acknowledged in the last seconds may be gone. With missed (true), you may have missed casts; read again what you need. */
  'gateway:status': (payload: Record<string, Health>) => void;
  /** How much you may do: right after session, and again when that changes. Where remaining is given, little is left of that policy. */
  'limits': (payload: Limits) => void;
  /** A user came into a channel that you are in, with the first of its devices. Not told in crowds. */
  'presence:joined': (payload: PresenceMovement) => void;
  /** A user left a channel that you are in, with the last of its devices. Not told in crowds. */
  'presence:left': (payload: PresenceMovement) => void;
  /** Who you are: right after connect, and again when your roles have changed. */
  'session': (payload: Welcome, offset?: string) => void;
  /** The session ends soon. Any activity extends it, until its absolute lifetime is over. */
  'session:expiring': (payload: Expiring) => void;
  /** The session is over. The disconnect follows, and only a new login helps. */
  'session:revoked': (payload: Ended) => void;
  /** A trade of yours has ended and nothing moved: see its status and reason. */
  'trade:cancelled': (payload: Trade, offset?: string) => void;
  /** The goods of a trade of yours have moved. */
  'trade:completed': (payload: Trade, offset?: string) => void;
  /** You, or somebody with you, opened a trade. You are not told of those of users whom you ignore. */
  'trade:proposed': (payload: Trade, offset?: string) => void;
  /** An offer has changed, or one side has accepted; also when you come back to an open trade. */
  'trade:updated': (payload: Trade, offset?: string) => void;
}
