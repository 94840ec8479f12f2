-- Gives goods of one character to another, and writes it into the ledger: all or nothing.
-- KEYS[1]  giver's inventory   KEYS[2]  receiver's inventory
-- KEYS[3]  record of the caller's key   KEYS[4]  lock of the pair, KEYS[5]  its fence
-- ARGV[1]  trade id   ARGV[2]  record: trade id, hash of the request   ARGV[3]  fence of the caller's lease, or ''
-- ARGV[4]  the receiver, and ARGV[5] the character that they are thought to play; the first is '' when that is known
-- ARGV[6]  body of the ledger entry, ARGV[7]  its digest
-- ARGV[8]  inventory field, ARGV[9] quantity, and so on
-- returns  when it moved, Unix ms; or one of these, and then everything is as it was:
--          {'seen'} the key was used   {'taken'} the trade id was used   {'held'} {'stale', fence} by the lock
--          {'who'} the receiver plays another   {'unknown', field}   {'short', field, have}
--          {'overflow', field}   {'corrupt', key, field, why}
if redis.call('GET', KEYS[3]) then return {'seen'} end
local refused, leased = enter(KEYS[4], KEYS[5], ARGV[3])
if refused then return refused end
if recorded(INDEX, ARGV[1]) then return {'taken'} end
if ARGV[4] ~= '' then
  local known, character = pcall(character_of, ARGV[4], now())
  if not known or character ~= ARGV[5] then return {'who'} end
end
refused = take(KEYS[1], ARGV, 8, #ARGV, ITEMS)
if refused then return refused end
refused = put(KEYS[2], ARGV, 8, #ARGV, MOST)
if refused then
  move(KEYS[1], '', ARGV, 8, #ARGV)
  return refused
end

local ok, failure = pcall(pass, KEYS[5], ARGV[3], leased)
if ok then ok, failure = pcall(redis.call, 'SET', KEYS[3], ARGV[2], 'PX', KEEP) end
if ok then ok, failure = pcall(append, LEDGER, 'gift', ARGV[1], text(now()), ARGV[6], ARGV[7]) end
if not ok then
  move(KEYS[1], '', ARGV, 8, #ARGV)
  move(KEYS[2], '-', ARGV, 8, #ARGV)
  redis.call('DEL', KEYS[3])
  return failed(failure)
end
return now()
