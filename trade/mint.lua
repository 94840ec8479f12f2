-- Makes goods come into being at one character, and writes it into the ledger.
-- KEYS[1]  inventory   KEYS[2]  ledger   KEYS[3]  ledger index   KEYS[4]  known items
-- ARGV[1]  mint id     ARGV[2]  most that a character may hold of one thing
-- ARGV[3]  body of the ledger entry
-- ARGV[4]  inventory field, ARGV[5] quantity, and so on
-- returns  {'ok', at}, or one of these, and then nothing was written:
--          {'seen'} this mint is done   {'overflow', field}   {'corrupt', key, field}
local seq, prev, seen = head(KEYS[3], ARGV[1])
if seen then return {'seen'} end
redis.call('SCARD', KEYS[4]) -- a wrong type ends it here
local set, del = plan(KEYS[1], {}, goods(4, #ARGV), tonumber(ARGV[2]))
if not set then return del end
local at = text(now())
append(KEYS[2], KEYS[3], seq, prev, 'mint', ARGV[1], at, ARGV[3])
write(KEYS[1], set, del)
for i = 4, #ARGV, 2 do
  if ARGV[i] ~= 'gold' then redis.call('SADD', KEYS[4], string.sub(ARGV[i], 6)) end
end
return {'ok', at}
