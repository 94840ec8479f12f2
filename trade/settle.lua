-- The second side accepts: goods change hands and the ledger says so, all or nothing. For one
-- Redis server; on a Cluster the steps of steps.go do it.
-- KEYS[1]  a's inventory   KEYS[2]  b's inventory   KEYS[3]  the trade   KEYS[4]  lock of the pair, KEYS[5]  its fence
-- KEYS[6]  ledger   KEYS[7]  ledger index   KEYS[8]  known items   KEYS[9]  trades to look at
-- ARGV[1]  trade id   ARGV[2]  who accepts, a or b   ARGV[3]  version   ARGV[4]  fence of the caller's lease, or ''
-- ARGV[5]  most that a character may hold of one thing
-- ARGV[6]  body of the ledger entry   ARGV[7]  somebody looks at it again after, ms
-- ARGV[8]  index of the last argument of a's goods
-- ARGV[9]  a's inventory fields and quantities, then b's
-- returns  {'ok', field, value, …} the trade, when the goods moved; or one of these, and then nothing was
--          written: {'gone'}   {'over', status}   {'due'} it has expired   {'version', version}
--          {'alone'} the other has not accepted   {'held'} {'stale', fence} by the lock   {'short', field, have, side}
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
local refused = enter(KEYS[4], KEYS[5], ARGV[4])
if refused then return refused end
local a, b = goods(9, tonumber(ARGV[8])), goods(tonumber(ARGV[8]) + 1, #ARGV)
local most = tonumber(ARGV[5])
local seta, dela = plan(KEYS[1], a, b, most, KEYS[8])
if not seta then return {dela[1], dela[2], dela[3] or '', 'a'} end
local setb, delb = plan(KEYS[2], b, a, most, KEYS[8])
if not setb then return {delb[1], delb[2], delb[3] or '', 'b'} end
local seq, prev = head(KEYS[7], ARGV[1])
redis.call('ZADD', KEYS[9], text(at + ARGV[7]), ARGV[1])
pass(KEYS[5], ARGV[4])
append(KEYS[6], KEYS[7], seq, prev, 'trade', ARGV[1], text(at), ARGV[6])
redis.call('HSET', KEYS[3], 'status', 'completed', 'endedAt', text(at), ARGV[2] .. ':accepted', '1')
write(KEYS[1], seta, dela)
write(KEYS[2], setb, delb)
local answer = redis.call('HGETALL', KEYS[3])
table.insert(answer, 1, 'ok')
return answer
