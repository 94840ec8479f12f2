-- Changes one rule. In front stand the functions about records (internal/once/record).
-- KEYS[1]  the rules, a hash
-- KEYS[2]  only with an idempotency key: the record
-- ARGV[1]  the field
-- ARGV[2]  its value, '' to remove it
-- ARGV[3]  the field that counts the changes
-- With a record, then: the token, the digest, how long the answer is kept (ms), the answer
-- returns  {'changed'}; {'nothing'} when the field to remove is not there; what once_check says
if KEYS[2] then
  local done = once_check(KEYS[2], ARGV[4], ARGV[5])
  if done then return done end
end
if ARGV[2] ~= '' then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
elseif redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then
  return {'nothing'}
end
redis.call('HINCRBY', KEYS[1], ARGV[3], 1)
if KEYS[2] then once_answer(KEYS[2], ARGV[5], ARGV[6], ARGV[7]) end
return {'changed'}
