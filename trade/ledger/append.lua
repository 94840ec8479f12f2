-- Appends an entry to the ledger, once.
-- KEYS[1]  ledger   KEYS[2]  ledger index   KEYS[3]  known items
-- ARGV[1]  ref   ARGV[2]  kind   ARGV[3]  at, Unix ms   ARGV[4]  body, ARGV[5]  its digest
-- ARGV[6]  an item that a mint makes known, and so on
-- returns  {'ok'}   {'seen'} the ledger has the entry
if recorded(KEYS[2], ARGV[1]) then return {'seen'} end
redis.call('XLEN', KEYS[1]) -- a wrong type ends it here
for i = 6, #ARGV do redis.call('SADD', KEYS[3], ARGV[i]) end
append(KEYS[1], ARGV[2], ARGV[1], ARGV[3], ARGV[4], ARGV[5])
remember(KEYS[2])
return {'ok'}
