-- Replaces the state of a fight, if its version is still the one that the new state was computed from.
--
-- KEYS[1]  the fight, a hash: version state seed base log writer
-- KEYS[2]  only for a turn with an idempotency key: the record of that key, see package once, whose
--          functions stand in front
-- ARGV[1]  the version that the fight must have
-- ARGV[2]  the version that it gets
-- ARGV[3]  the new state, JSON
-- ARGV[4]  the move, an entry of the log
-- ARGV[5]  TTL, ms
-- ARGV[6]  writer: an id of this change
-- ARGV[7]  '1': the log starts again from the new state; '0': the move is appended to the log
-- ARGV[8]  with KEYS[2]: what once.Args returns: token, digest, keep (ms), answer
-- returns  1 when the state was replaced; 0 when there is no such fight; {state, seed} when the
--          fight has another version. It returns 1 too when this same change was made before: then
--          the first answer was lost, and the client sent the call again.
--          With KEYS[2] also {'once', 'answer', text} when the key did its turn before, and
--          {'once', 'lost', ''} when another holder has the claim; then nothing changes.
if KEYS[2] then
  local refused = once_check(KEYS[2], ARGV[8], ARGV[9])
  if refused then return {'once', refused[1], refused[2] or ''} end
end
local found = redis.call('HMGET', KEYS[1], 'version', 'writer', 'state', 'seed')
if not found[1] then
  return 0
end
if found[1] ~= ARGV[1] then
  if found[2] == ARGV[6] then
    return 1
  end
  return {found[3], found[4]}
end
if ARGV[7] == '1' then
  redis.call('HSET', KEYS[1], 'version', ARGV[2], 'state', ARGV[3], 'writer', ARGV[6], 'base', ARGV[3], 'log', '')
else
  local log = redis.call('HGET', KEYS[1], 'log') or ''
  redis.call('HSET', KEYS[1], 'version', ARGV[2], 'state', ARGV[3], 'writer', ARGV[6], 'log', log .. ARGV[4])
end
redis.call('PEXPIRE', KEYS[1], ARGV[5])
if KEYS[2] then once_answer(KEYS[2], ARGV[9], ARGV[10], ARGV[11]) end
return 1
