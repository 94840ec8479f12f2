-- Gives goods of one character to another, and writes the ledger's entry: all or nothing. LEASED is
-- 1 for a caller that has a lease of the pair's lock, else 0.
-- KEYS[1]  giver's inventory   KEYS[2]  receiver's inventory
-- KEYS[3]  record of the idempotency key   KEYS[4]  lock of the pair
-- KEYS[5]  fence of the lock, if LEASED
-- ARGV[1]  trade id   ARGV[2]  text of the record
-- ARGV[3]  token of the claim of the event; '' when the record is not that of an event
-- ARGV[4]  the receiver's user id, '' when their character need not be checked
-- ARGV[5]  body of the ledger entry, ARGV[6]  its digest
-- ARGV[7]  inventory field, ARGV[8] quantity, and so on
--          Then, if LEASED, the fence of the caller's lease
-- returns  when the goods moved, Unix ms; or one of these, and then everything is as it was:
--          {'seen'} the key was used   {'taken'} the trade id was used
--          {'held'} another holder has the lock   {'stale', fence} the lease has run out
--          {'who'} the receiver plays another character   {'unknown', field} no such item
--          {'short', field, have}   {'overflow', field}   {'corrupt', key, field, why}
--          {'once', …} see once.lua
local record = record_of(KEYS[3])
if record then
  if ARGV[3] == '' then return {'seen'} end
  local found = once_judge(record, ARGV[3], string.sub(ARGV[2], 2, 17))
  if found then return {'once', found[1], found[2] or ''} end
end
local all, fence = #ARGV - LEASED, LEASED == 1 and ARGV[#ARGV] or ''
local refused, leased
if not is_free() then refused, leased = enter(KEYS[4], KEYS[5], fence) end
if not refused and recorded(INDEX, ARGV[1]) then refused = {'taken'} end
if not refused and ARGV[4] ~= '' then
  local known, character = pcall(character_of, ARGV[4], now())
  if not known or not character or INVENTORY_BEFORE .. character .. INVENTORY_AFTER ~= KEYS[2] then refused = {'who'} end
end
if not refused then refused = take(KEYS[1], ARGV, 7, all, ITEMS) end
if refused then return refused end
refused = put(KEYS[2], ARGV, 7, all, MOST)
if refused then
  move(KEYS[1], '', ARGV, 7, all)
  return refused
end

local ok, failure = pcall(write_record, KEYS[3], ARGV[2])
if ok and LEASED == 1 then ok, failure = pcall(pass, KEYS[5], fence, leased) end
if ok then ok, failure = pcall(append, LEDGER, 'gift', ARGV[1], stamp(), ARGV[5], ARGV[6]) end
if not ok then
  move(KEYS[1], '', ARGV, 7, all)
  move(KEYS[2], '-', ARGV, 7, all)
  restore_record(KEYS[3], record)
  return failed(failure)
end
return now()
