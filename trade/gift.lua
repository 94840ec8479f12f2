-- Gives goods of one character to another, and writes it into the ledger: all or nothing.
-- KEYS[1]  giver's inventory   KEYS[2]  receiver's inventory
-- KEYS[3]  record of the caller's key   KEYS[4]  lock of the pair, KEYS[5]  its fence
-- KEYS[6]  ledger              KEYS[7]  ledger index           KEYS[8]  known items
-- ARGV[1]  trade id            ARGV[2]  hash of the request    ARGV[3]  fence of the caller's lease, or ''
-- ARGV[4]  the record is kept, ms   ARGV[5]  most that a character may hold of one thing
-- ARGV[6]  body of the ledger entry
-- ARGV[7]  inventory field, ARGV[8] quantity, and so on
-- returns  {'ok', at} when it moved, or one of these, and then nothing was written:
--          {'seen'} the key was used   {'taken'} the trade id was used   {'held'} {'stale', fence} by the lock
--          {'unknown', field}   {'short', field, have}   {'overflow', field}   {'corrupt', key, field}
if redis.call('GET', KEYS[3]) then return {'seen'} end
local refused = enter(KEYS[4], KEYS[5], ARGV[3])
if refused then return refused end
local seq, prev, taken = head(KEYS[7], ARGV[1])
if taken then return {'taken'} end
local moved, most = goods(7, #ARGV), tonumber(ARGV[5])
local from, gone = plan(KEYS[1], moved, {}, most, KEYS[8])
if not from then return gone end
local to, none = plan(KEYS[2], {}, moved, most)
if not to then return none end

local at = text(now())
pass(KEYS[5], ARGV[3])
append(KEYS[6], KEYS[7], seq, prev, 'gift', ARGV[1], at, ARGV[6])
redis.call('SET', KEYS[3], ARGV[1] .. ' ' .. ARGV[2], 'PX', ARGV[4])
write(KEYS[1], from, gone)
write(KEYS[2], to, none)
return {'ok', at}
