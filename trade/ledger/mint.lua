-- Makes goods come into being at one character, and writes the ledger's entry.
-- KEYS[1]  inventory   KEYS[2]  ledger   KEYS[3]  ledger index   KEYS[4]  known items
-- ARGV[1]  mint id     ARGV[2]  most that a character may hold of one thing
-- ARGV[3]  body of the ledger entry, ARGV[4]  its digest
-- ARGV[5]  inventory field, ARGV[6] quantity, and so on
-- returns  when it was, Unix ms; or one of these, and then nothing has changed:
--          {'seen'} the ledger has an entry for this mint
--          {'overflow', field}   {'corrupt', key, field, why}
if recorded(KEYS[3], ARGV[1]) then return {'seen'} end
redis.call('SCARD', KEYS[4]) -- a wrong type ends it here
local refused = put(KEYS[1], ARGV, 5, #ARGV, tonumber(ARGV[2]))
if refused then return refused end
local ok, failure = pcall(append, KEYS[2], 'mint', ARGV[1], stamp(), ARGV[3], ARGV[4])
if not ok then
  move(KEYS[1], '-', ARGV, 5, #ARGV)
  return failed(failure)
end
for i = 5, #ARGV, 2 do
  if ARGV[i] ~= 'gold' then redis.call('SADD', KEYS[4], string.sub(ARGV[i], 6)) end
end
remember(KEYS[3])
return now()
