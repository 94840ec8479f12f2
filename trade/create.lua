-- Makes a trade.
-- KEYS[1]  the trade
-- ARGV[1]  the trade must be made before this, Unix ms   ARGV[2]  it expires after, ms
-- ARGV[3]  its settlement must be decided within, ms; '' when it is not settled yet
-- ARGV[4]  field, ARGV[5] value, and so on
-- returns  {'ok', field, value, …} the trade, also when it is there already: an id is used once
--          {'late'} nothing was written
if redis.call('EXISTS', KEYS[1]) == 0 then
  local at = now()
  if at > tonumber(ARGV[1]) then return {'late'} end
  redis.call('HSET', KEYS[1], 'createdAt', text(at), 'expiresAt', text(at + ARGV[2]), unpack(ARGV, 4))
  if ARGV[3] ~= '' then redis.call('HSET', KEYS[1], 'deadline', text(at + ARGV[3])) end
end
local answer = redis.call('HGETALL', KEYS[1])
table.insert(answer, 1, 'ok')
return answer
