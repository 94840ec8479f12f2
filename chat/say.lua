-- KEYS[1]  the channel's history, a stream
-- KEYS[2]  what was answered to this client id   KEYS[3]  that the sender must wait; both only for a claim
-- ARGV[1]  about how many messages are kept, 0 for none
-- ARGV[2]  how old they may become, ms
-- for a claim then:
--   how long the answer is known, ms, 0 without a client id
--   how long the sender must wait after this one, ms, 0 where the channel is not slow
--   the answer
-- then the messages, as JSON that begins with the id and has the Unix ms as its only "at"
-- returns  {'said'}; {'before', the first answer}; {'early', ms to wait}
local first = 3
if #KEYS > 1 then
  first = 6
  local remember, pause = tonumber(ARGV[3]), tonumber(ARGV[4])
  if remember > 0 then
    local before = redis.call('GET', KEYS[2])
    if before then return {'before', before} end
  end
  if pause > 0 then
    local left = redis.call('PTTL', KEYS[3])
    if left > 0 then return {'early', string.format('%.0f', left)} end
    redis.call('SET', KEYS[3], '1', 'PX', ARGV[4])
  end
  if remember > 0 then redis.call('SET', KEYS[2], ARGV[5], 'PX', ARGV[3]) end
end
if ARGV[1] == '0' then return {'said'} end
local at
for i = first, #ARGV do
  local message = ARGV[i]
  local id = string.match(message, '^{"id":"(%w+)"')
  at = string.match(message, '"at":(%d+)') -- a quote within a text stands behind a backslash
  -- The entry's time is that of the message, unless another node's clock was ahead.
  local added = redis.pcall('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], at .. '-*', 'id', id, 'message', message)
  if type(added) == 'table' then
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'id', id, 'message', message)
  end
end
redis.call('XTRIM', KEYS[1], 'MINID', '~', string.format('%.0f', at - ARGV[2]))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {'said'}
