-- Gives goods of one character to another, and writes the ledger's entry: all or nothing.
-- KEYS[1]  giver's inventory   KEYS[2]  receiver's inventory
-- KEYS[3]  record of the idempotency key   KEYS[4]  lock of the pair   KEYS[5]  its fence
-- KEYS[6]  the record of the event with that key, see once.lua; absent where it lies elsewhere
-- ARGV[1]  trade id   ARGV[2]  text of the record: trade id, hash of the request
-- ARGV[3]  fence of the caller's lease, '' without one
-- ARGV[4]  the receiver's user id, '' when their character need not be checked
-- ARGV[5]  the character that the receiver is expected to play
-- ARGV[6]  body of the ledger entry, ARGV[7]  its digest
-- ARGV[8]  inventory field, ARGV[9] quantity, and so on
--          Then, with KEYS[6], the claim, with the answer up to its times
-- returns  when the goods moved, Unix ms; or one of these, and then everything is as it was:
--          {'seen'} the key was used   {'taken'} the trade id was used
--          {'held'} another holder has the lock   {'stale', fence} the lease has run out
--          {'who'} the receiver plays another character   {'unknown', field} no such item
--          {'short', field, have}   {'overflow', field}   {'corrupt', key, field, why}
--          {'once', …} see once.lua
local refused, leased = once_refusal(KEYS[6], ARGV)
if refused then return refused end
local all = #ARGV
if KEYS[6] then all = all - 4 end
refused, leased = enter(KEYS[4], KEYS[5], ARGV[3])
if not refused and recorded(INDEX, ARGV[1]) then refused = {'taken'} end
if not refused and ARGV[4] ~= '' then
  local known, character = pcall(character_of, ARGV[4], now())
  if not known or character ~= ARGV[5] then refused = {'who'} end
end
if not refused then refused = take(KEYS[1], ARGV, 8, all, ITEMS) end
if not refused then
  refused = put(KEYS[2], ARGV, 8, all, MOST)
  if refused then move(KEYS[1], '', ARGV, 8, all) end
end
if refused then return redis.call('GET', KEYS[3]) and {'seen'} or refused end

-- Nearly all idempotency keys are new. Only here it shows that one is not; then the goods go back.
local ok, new = pcall(redis.call, 'SET', KEYS[3], ARGV[2], 'NX', 'PX', KEEP)
local failure = new
if ok and new then ok, failure = pcall(pass, KEYS[5], ARGV[3], leased) end
if ok and new then ok, failure = pcall(append, LEDGER, 'gift', ARGV[1], stamp(), ARGV[6], ARGV[7]) end
if not ok or not new then
  move(KEYS[1], '', ARGV, 8, all)
  move(KEYS[2], '-', ARGV, 8, all)
  if not new then return {'seen'} end
  redis.call('DEL', KEYS[3])
  return failed(failure)
end
if KEYS[6] then
  once_answer(KEYS[6], ARGV[all + 2], ARGV[all + 3],
    ARGV[all + 4] .. ',"createdAt":' .. stamp() .. ',"expiresAt":' .. text(now() + KEEP) .. '}')
end
return now()
