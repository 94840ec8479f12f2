-- Deletes one message from a history. In front stand the functions about records
-- (internal/once/record).
-- KEYS[1]  the history, a stream
-- KEYS[2]  only with an idempotency key: the record
-- ARGV[1]  the entry; '' when none was found
-- With a record, then: the token, the digest, how long the answer is kept (ms), the answer
-- returns  {'removed'}; {'nothing'} when there is no such entry; what once_check says
if KEYS[2] then
  local done = once_check(KEYS[2], ARGV[2], ARGV[3])
  if done then return done end
end
if ARGV[1] == '' or redis.call('XDEL', KEYS[1], ARGV[1]) == 0 then return {'nothing'} end
if KEYS[2] then once_answer(KEYS[2], ARGV[3], ARGV[4], ARGV[5]) end
return {'removed'}
