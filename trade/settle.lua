-- The second side accepts: goods change hands and the ledger says so, all or nothing. For one
-- Redis server; on a Cluster the steps of steps.go do it.
-- KEYS[1]  a's inventory   KEYS[2]  b's inventory   KEYS[3]  the trade   KEYS[4]  fence of the pair
-- KEYS[5]  ledger   KEYS[6]  ledger index   KEYS[7]  known items   KEYS[8]  trades to look at
-- ARGV[1]  trade id   ARGV[2]  who accepts, a or b   ARGV[3]  version   ARGV[4]  fence of the holder
-- ARGV[5]  the fence is kept, ms   ARGV[6]  most that a character may hold of one thing
-- ARGV[7]  body of the ledger entry   ARGV[8]  somebody looks at it again after, ms
-- ARGV[9]  index of the last argument of a's goods
-- ARGV[10] a's inventory fields and quantities, then b's
-- returns  {'ok', field, value, …} the trade, when the goods moved; or one of these, and then nothing was
--          written: {'gone'}   {'over', status}   {'due'} it has expired   {'version', version}
--          {'alone'} the other has not accepted   {'stale', highest fence}   {'short', field, have, side}
--          {'unknown', field, '', side}   {'overflow', field, '', side}   {'corrupt', key, field}
local t = redis.call('HMGET', KEYS[3], 'status', 'version', 'expiresAt', 'a:accepted', 'b:accepted')
if not t[1] then return {'gone'} end
if t[1] ~= 'open' then return {'over', t[1]} end
local at = now()
if at >= tonumber(t[3]) then return {'due'} end
if t[2] ~= ARGV[3] then return {'version', t[2]} end
local other = t[4]
if ARGV[2] == 'a' then other = t[5] end
if other ~= '1' then return {'alone'} end
local highest = redis.call('HGET', KEYS[4], 'fence')
if highest and tonumber(highest) > tonumber(ARGV[4]) then return {'stale', highest} end
local a, b = goods(10, tonumber(ARGV[9])), goods(tonumber(ARGV[9]) + 1, #ARGV)
local most = tonumber(ARGV[6])
local left, refused = plan(KEYS[1], a, b, most, KEYS[7])
if not left then return {refused[1], refused[2], refused[3] or '', 'a'} end
local right
right, refused = plan(KEYS[2], b, a, most, KEYS[7])
if not right then return {refused[1], refused[2], refused[3] or '', 'b'} end
local seq, prev = head(KEYS[5], KEYS[6])
redis.call('ZADD', KEYS[8], text(at + ARGV[8]), ARGV[1])
redis.call('HSET', KEYS[4], 'fence', ARGV[4])
redis.call('PEXPIRE', KEYS[4], ARGV[5])
redis.call('HSET', KEYS[3], 'status', 'completed', 'endedAt', text(at), ARGV[2] .. ':accepted', '1')
write(KEYS[1], left)
write(KEYS[2], right)
append(KEYS[5], KEYS[6], seq, prev, 'trade', ARGV[1], text(at), ARGV[7])
local answer = redis.call('HGETALL', KEYS[3])
table.insert(answer, 1, 'ok')
return answer
