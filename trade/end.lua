-- Decides what becomes of a trade. This is the commit point: the status that is written is final.
-- KEYS[1]  the trade   KEYS[2]  the record of an idempotency key, see once.lua
-- ARGV[1]  the status that it must have   ARGV[2]  the status that it gets
-- ARGV[3]  the reason, or ''
-- ARGV[4]  what else must hold: 'any' nothing; 'due' its time is over; 'version' or 'fence' is
--          ARGV[5]
-- ARGV[6]  the trade's id; then, with KEYS[2], the claim
-- returns  {'ok', field, value, …} the trade, also when it was decided so before
--          {'no', field, value, …} the trade, when something else holds   {'gone'} no such trade
--          {'once', …} see once.lua
local refused = once_refusal(KEYS[2], ARGV)
if refused then return refused end
local t = redis.call('HMGET', KEYS[1], 'status', 'expiresAt', 'deadline', 'version', 'fence')
if not t[1] then return {'gone'} end
local at = now()
local holds = t[1] == ARGV[1]
if ARGV[4] == 'due' then
  local due = t[2]
  if t[1] == 'settling' then due = t[3] end
  holds = holds and at >= tonumber(due or 0) -- without one nobody would ever end it
elseif ARGV[4] == 'version' then
  holds = holds and t[4] == ARGV[5]
elseif ARGV[4] == 'fence' then
  holds = holds and t[5] == ARGV[5]
end
if holds then
  redis.call('HSET', KEYS[1], 'status', ARGV[2], 'endedAt', text(at))
  if ARGV[3] ~= '' then redis.call('HSET', KEYS[1], 'reason', ARGV[3]) end
end
local again = t[1] == ARGV[2] and (ARGV[4] ~= 'fence' or t[5] == ARGV[5])
local answer = redis.call('HGETALL', KEYS[1])
if holds or again then once_record(KEYS[2], ARGV, ARGV[6], answer) end
table.insert(answer, 1, (holds or again) and 'ok' or 'no')
return answer
