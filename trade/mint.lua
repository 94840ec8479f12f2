-- Makes goods come into being at one character, and writes it into the ledger.
-- KEYS[1]  inventory   KEYS[2]  ledger   KEYS[3]  ledger index   KEYS[4]  known items
-- ARGV[1]  mint id     ARGV[2]  most that a character may hold of one thing
-- ARGV[3]  body of the ledger entry
-- ARGV[4]  inventory field, ARGV[5] quantity, and so on
-- returns  {'ok', at}, or one of these, and then nothing was written:
--          {'seen'} this mint is done   {'overflow', field}   {'corrupt', key, field}
if redis.call('HEXISTS', KEYS[3], ARGV[1]) == 1 then return {'seen'} end
redis.call('SCARD', KEYS[4]) -- a wrong type ends it here
local got, items = {}, {}
for i = 4, #ARGV, 2 do
  local field = ARGV[i]
  local has = amount(redis.call('HGET', KEYS[1], field))
  if not has then return {'corrupt', KEYS[1], field} end
  local sum = has + tonumber(ARGV[i + 1])
  if sum > tonumber(ARGV[2]) then return {'overflow', field} end
  got[#got + 1] = field
  got[#got + 1] = text(sum)
  if field ~= 'gold' then items[#items + 1] = string.sub(field, 6) end
end
local seq, prev = head(KEYS[2], KEYS[3])
local at = text(now())
redis.call('HSET', KEYS[1], unpack(got))
if #items > 0 then redis.call('SADD', KEYS[4], unpack(items)) end
append(KEYS[2], KEYS[3], seq, prev, 'mint', ARGV[1], at, ARGV[3])
return {'ok', at}
