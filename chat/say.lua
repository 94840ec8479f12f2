-- Writes messages to the history of a channel. A claim is one message that may be refused: because
-- it was sent before with the same idempotency key, or because the channel is slow. In front stand
-- the functions about records (internal/once/record).
--
-- KEYS[1]  the channel's history, a stream
-- KEYS[2]  only for a claim: exists while the sender must wait
-- KEYS[3]  only for a claim with an idempotency key: the record
-- ARGV[1]  about how many messages are kept; 0 for none
-- ARGV[2]  how long a message is kept, ms
-- Only for a claim, then:
--   how long the sender must wait after this message, ms; 0 when the channel is not slow
--   with a record, for once_check and once_answer, and otherwise '' four times: the token, the
--   digest, how long the answer is kept (ms), the answer
-- Then the messages, as JSON that begins with the id and has the Unix ms as its only "at".
-- returns  {'said'} when the messages were written; {'early', ms to wait}; what once_check says
local first = 3
if #KEYS > 1 then
  first = 8
  local record = KEYS[3]
  local done = record and once_check(record, ARGV[4], ARGV[5])
  if done then return done end
  if tonumber(ARGV[3]) > 0 then
    local left = redis.call('PTTL', KEYS[2])
    if left > 0 then return {'early', string.format('%.0f', left)} end
    redis.call('SET', KEYS[2], '1', 'PX', ARGV[3])
  end
  if record then once_answer(record, ARGV[5], ARGV[6], ARGV[7]) end
end
if ARGV[1] == '0' then return {'said'} end
local at
for i = first, #ARGV do
  local message = ARGV[i]
  local id = string.match(message, '^{"id":"(%w+)"')
  at = string.match(message, '"at":(%d+)') -- inside a text, a quote has a backslash before it
  -- The entry gets the time of its message, or a later one when another node's clock was ahead.
  local added = redis.pcall('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], at .. '-*', 'id', id, 'message', message)
  if type(added) == 'table' then
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'id', id, 'message', message)
  end
end
redis.call('XTRIM', KEYS[1], 'MINID', '~', string.format('%.0f', at - ARGV[2]))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {'said'}
