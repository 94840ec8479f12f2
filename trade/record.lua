-- Takes an idempotency key.
-- KEYS[1]  its record
-- ARGV[1]  what is written   ARGV[2]  what must stand there, '' for nothing   ARGV[3]  it is kept, ms
-- returns  {'ok'}   {'seen'} something else stands there
local was = redis.call('GET', KEYS[1]) or ''
if was ~= ARGV[2] and was ~= ARGV[1] then return {'seen'} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
return {'ok'}
