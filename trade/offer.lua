-- One side changes what it gives; both must accept anew.
-- KEYS[1]  the trade   KEYS[2]  the record of an idempotency key, see once.lua
-- ARGV[1]  the side that offers, a or b   ARGV[2]  the version that it changes
-- ARGV[3]  the offer, JSON   ARGV[4]  the trade's id; then, with KEYS[2], the claim
-- returns  {'ok', field, value, …} the trade; or, and then nothing was written:
--          {'gone'} no such trade   {'over', status}   {'due'} it has expired
--          {'version', version} it has another version   {'once', …} see once.lua
local refused = once_refusal(KEYS[2], ARGV)
if refused then return refused end
local t = redis.call('HMGET', KEYS[1], 'status', 'version', 'expiresAt', ARGV[1] .. ':offer', 'changed')
if not t[1] then return {'gone'} end
if t[1] ~= 'open' then return {'over', t[1]} end
if now() >= tonumber(t[3]) then return {'due'} end
-- Our own command may be repeated, after an answer that was lost.
local again = t[2] == text(ARGV[2] + 1) and t[4] == ARGV[3] and t[5] == ARGV[1]
if t[2] ~= ARGV[2] and not again then return {'version', t[2]} end
if not again then
  redis.call('HSET', KEYS[1], 'version', text(ARGV[2] + 1), 'changed', ARGV[1],
    ARGV[1] .. ':offer', ARGV[3], 'a:accepted', '0', 'b:accepted', '0', ARGV[1] .. ':offeredAt', text(now()))
  redis.call('HDEL', KEYS[1], 'a:acceptedAt', 'b:acceptedAt')
end
if ARGV[1] == 'b' then redis.call('HDEL', KEYS[1], 'unseen') end -- who acts in it has seen it
local answer = redis.call('HGETALL', KEYS[1])
once_record(KEYS[2], ARGV, ARGV[4], answer)
table.insert(answer, 1, 'ok')
return answer
