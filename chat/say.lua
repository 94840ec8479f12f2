-- KEYS[1]  the channel's history, a stream
-- KEYS[2]  what was answered to this client id   KEYS[3]  that the sender must wait; both only for a claim
-- ARGV[1]  about how many messages are kept      ARGV[2]  how old they may become, ms
-- ARGV[3]  how long the answer is known, ms, 0 without a client id
-- ARGV[4]  how long the sender must wait after this one, ms, 0 where the channel is not slow
-- ARGV[5]  the answer                            ARGV[6]  messages from before may go, Unix ms
-- then for each message: when it was said, Unix ms; its id; its JSON
-- returns  {'said'}; {'before', the first answer}; {'early', ms to wait}
local remember, pause = tonumber(ARGV[3]), tonumber(ARGV[4])
if remember > 0 then
  local first = redis.call('GET', KEYS[2])
  if first then return {'before', first} end
end
if pause > 0 then
  local left = redis.call('PTTL', KEYS[3])
  if left > 0 then return {'early', string.format('%.0f', left)} end
  redis.call('SET', KEYS[3], '1', 'PX', ARGV[4])
end
if remember > 0 then redis.call('SET', KEYS[2], ARGV[5], 'PX', ARGV[3]) end
for i = 7, #ARGV, 3 do
  -- The entry's time is that of the message, unless another node's clock was ahead.
  local added = redis.pcall('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], ARGV[i] .. '-*', 'id', ARGV[i + 1], 'message', ARGV[i + 2])
  if type(added) == 'table' then
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'id', ARGV[i + 1], 'message', ARGV[i + 2])
  end
end
redis.call('XTRIM', KEYS[1], 'MINID', '~', ARGV[6])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {'said'}
