-- Writes the record of an idempotency key.
-- KEYS[1]  the record
-- ARGV[1]  its new text   ARGV[2]  the text that it must have, '' for none
-- ARGV[3]  it is kept, ms
-- returns  {'ok'}   {'seen'} it has another text
local was = redis.call('GET', KEYS[1]) or ''
if was ~= ARGV[2] and was ~= ARGV[1] then return {'seen'} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
return {'ok'}
