-- The second side accepts: goods change hands and the ledger's entry is written, all or nothing.
-- For one Redis server; on a Cluster the saga of saga.go does it.
-- KEYS[1]  a's inventory   KEYS[2]  b's inventory   KEYS[3]  the trade
-- KEYS[4]  lock of the pair   KEYS[5]  its fence   KEYS[6]  trades by when to look at them
-- KEYS[7]  the record of an idempotency key, see once.lua
-- ARGV[1]  trade id   ARGV[2]  the side that accepts, a or b   ARGV[3]  version
-- ARGV[4]  fence of the caller's lease, '' without one
-- ARGV[5]  body of the ledger entry, ARGV[6]  its digest
-- ARGV[7]  the sweeper looks at the trade again after, ms
-- ARGV[8]  index of the last argument of a's goods
-- ARGV[9]  a's inventory fields and quantities, then b's; then, with KEYS[7], the claim
-- returns  {'ok', field, value, …} the trade, when the goods moved; or one of these, and then
--          everything is as it was: {'gone'} no such trade   {'over', status}
--          {'due'} it has expired   {'version', version} it has another version
--          {'alone'} the other has not accepted
--          {'held'} another holder has the lock   {'stale', fence} the lease has run out
--          {'short', field, have, side}   {'unknown', field, '', side}
--          {'overflow', field, '', side}   {'corrupt', key, field, why}
--          {'once', …} see once.lua
local refused, leased = once_refusal(KEYS[7], ARGV)
if refused then return refused end
local t = redis.call('HMGET', KEYS[3], 'status', 'version', 'expiresAt', 'a:accepted', 'b:accepted')
if not t[1] then return {'gone'} end
if t[1] ~= 'open' then return {'over', t[1]} end
local at = now()
if at >= tonumber(t[3]) then return {'due'} end
if t[2] ~= ARGV[3] then return {'version', t[2]} end
local other = t[4]
if ARGV[2] == 'a' then other = t[5] end
if other ~= '1' then return {'alone'} end
refused, leased = enter(KEYS[4], KEYS[5], ARGV[4])
if refused then return refused end
recorded(INDEX, ARGV[1])

local last, all = tonumber(ARGV[8]), #ARGV
if KEYS[7] then all = all - 4 end
-- Undoes so many of the four steps.
local function back(steps)
  if steps > 3 then move(KEYS[2], '-', ARGV, 9, last) end
  if steps > 2 then move(KEYS[1], '-', ARGV, last + 1, all) end
  if steps > 1 then move(KEYS[2], '', ARGV, last + 1, all) end
  if steps > 0 then move(KEYS[1], '', ARGV, 9, last) end
end
local steps, side = 0, 'a'
refused = take(KEYS[1], ARGV, 9, last, ITEMS)
if not refused then
  steps, side, refused = 1, 'b', take(KEYS[2], ARGV, last + 1, all, ITEMS)
end
if not refused then
  steps, side, refused = 2, 'a', put(KEYS[1], ARGV, last + 1, all, MOST)
end
if not refused then
  steps, side, refused = 3, 'b', put(KEYS[2], ARGV, 9, last, MOST)
end
if refused then
  back(steps)
  if refused.err or refused[1] == 'corrupt' then return refused end
  return {refused[1], refused[2], refused[3] or '', side}
end

local ok, failure = pcall(pass, KEYS[5], ARGV[4], leased)
if ok then ok, failure = pcall(redis.call, 'ZADD', KEYS[6], text(at + ARGV[7]), ARGV[1]) end
if ok then ok, failure = pcall(append, LEDGER, 'trade', ARGV[1], text(at), ARGV[5], ARGV[6]) end
if not ok then
  back(4)
  return failed(failure)
end
redis.call('HSET', KEYS[3], 'status', 'completed', 'endedAt', text(at), ARGV[2] .. ':accepted', '1', ARGV[2] .. ':acceptedAt', text(at))
if ARGV[2] == 'b' then redis.call('HDEL', KEYS[3], 'unseen') end -- who acts in it has seen it
local answer = redis.call('HGETALL', KEYS[3])
once_record(KEYS[7], ARGV, ARGV[1], answer)
table.insert(answer, 1, 'ok')
return answer
