-- Gives goods of one character to another, and writes down that it did: all or nothing.
-- KEYS[1]  giver's inventory         KEYS[2]  receiver's inventory   KEYS[3]  the trade
-- KEYS[4]  record of the caller's key   KEYS[5]  fence of the pair
-- KEYS[6]  ledger                    KEYS[7]  ledger index           KEYS[8]  known items
-- ARGV[1]  trade id                  ARGV[2]  hash of the request    ARGV[3]  fence of the holder
-- ARGV[4]  trade and record are kept, ms      ARGV[5]  the fence is kept, ms
-- ARGV[6]  most that a character may hold of one thing
-- ARGV[7]  body of the ledger entry  ARGV[8]  what the giver offers, JSON   ARGV[9]  an empty offer, JSON
-- ARGV[10] giver's user, ARGV[11] character   ARGV[12] receiver's user, ARGV[13] character
-- ARGV[14] inventory field, ARGV[15] quantity, and so on
-- returns  {'ok', at} when it moved, or one of these, and then nothing was written:
--          {'seen'} the key was used   {'taken'} the trade id was used   {'stale', highest fence}
--          {'unknown', field}   {'short', field, have}   {'overflow', field}   {'corrupt', key, field}
if redis.call('GET', KEYS[4]) then return {'seen'} end
local highest = redis.call('HGET', KEYS[5], 'fence')
if highest and tonumber(highest) > tonumber(ARGV[3]) then return {'stale', highest} end
if redis.call('HLEN', KEYS[3]) > 0 or redis.call('HEXISTS', KEYS[7], ARGV[1]) == 1 then return {'taken'} end
local moved = goods(14, #ARGV)
local from, refused = plan(KEYS[1], moved, {}, tonumber(ARGV[6]), KEYS[8])
if not from then return refused end
local to
to, refused = plan(KEYS[2], {}, moved, tonumber(ARGV[6]))
if not to then return refused end
local seq, prev = head(KEYS[6], KEYS[7])
local at = now()

redis.call('HSET', KEYS[3], 'kind', 'gift', 'status', 'completed', 'version', '1', 'createdAt', text(at), 'expiresAt', text(at + ARGV[4]),
  'a:user', ARGV[10], 'a:character', ARGV[11], 'a:offer', ARGV[8], 'a:accepted', '1',
  'b:user', ARGV[12], 'b:character', ARGV[13], 'b:offer', ARGV[9], 'b:accepted', '1')
redis.call('PEXPIRE', KEYS[3], ARGV[4])
redis.call('SET', KEYS[4], ARGV[1] .. ' ' .. ARGV[2], 'PX', ARGV[4])
redis.call('HSET', KEYS[5], 'fence', ARGV[3])
redis.call('PEXPIRE', KEYS[5], ARGV[5])
write(KEYS[1], from)
write(KEYS[2], to)
append(KEYS[6], KEYS[7], seq, prev, 'gift', ARGV[1], text(at), ARGV[7])
return {'ok', text(at)}
