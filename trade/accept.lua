-- One side accepts. When both have accepted and the caller holds the lock of the pair, the
-- settlement begins.
-- KEYS[1]  the trade   KEYS[2]  the record of an idempotency key, see once.lua
-- ARGV[1]  the side that accepts, a or b   ARGV[2]  version
-- ARGV[3]  fence of the caller's lease, '' without one
-- ARGV[4]  the settlement must begin before this, Unix ms
-- ARGV[5]  the settlement must be decided within, ms
-- ARGV[6]  the trade's id; then, with KEYS[2], the claim. A settlement that begins is not recorded:
--          its end will be.
-- returns  {'ok', field, value, …} the trade, open or settling; or, and then nothing was written:
--          {'gone'} no such trade   {'over', status}   {'due'} it has expired
--          {'version', version} it has another version   {'both'} a lease is needed   {'late'}
--          {'once', …} see once.lua
local refused = once_refusal(KEYS[2], ARGV)
if refused then return refused end
local t = redis.call('HMGET', KEYS[1], 'status', 'version', 'expiresAt', 'a:accepted', 'b:accepted', 'fence')
if not t[1] then return {'gone'} end
-- Our own command may be repeated, after an answer that was lost.
local both, mine = false, t[1] == 'settling' and t[6] == ARGV[3]
if t[1] ~= 'open' and not mine then return {'over', t[1]} end
if not mine then
  local at = now()
  if at >= tonumber(t[3]) then return {'due'} end
  if t[2] ~= ARGV[2] then return {'version', t[2]} end
  local other = t[4]
  if ARGV[1] == 'a' then other = t[5] end
  both = other == '1'
  if both then
    if ARGV[3] == '' then return {'both'} end
    if at > tonumber(ARGV[4]) then return {'late'} end
    redis.call('HSET', KEYS[1], 'status', 'settling', 'fence', ARGV[3], 'deadline', text(at + ARGV[5]))
  end
  redis.call('HSET', KEYS[1], ARGV[1] .. ':accepted', '1', ARGV[1] .. ':acceptedAt', text(at))
end
if ARGV[1] == 'b' then redis.call('HDEL', KEYS[1], 'unseen') end -- who acts in it has seen it
local answer = redis.call('HGETALL', KEYS[1])
if not mine and not both then once_record(KEYS[2], ARGV, ARGV[6], answer) end
table.insert(answer, 1, 'ok')
return answer
