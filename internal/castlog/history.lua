-- Functions about the history of a channel, to stand in front of a script, behind the functions
-- about records (internal/once/record).

-- history_claim decides whether a message may be said. It returns false when it may, and otherwise
-- what once_check says, because it was said before with the same idempotency key, or
-- {'early', ms to wait}, because the channel is slow.
--   slow_key, slow_ms             the key exists while the sender must wait; 0 when it is not slow
--   record, token, digest, keep, answer  for once_check and once_answer; record is '' without a key
local function history_claim(slow_key, slow_ms, record, token, digest, keep, answer)
  if record ~= '' then
    local done = once_check(record, token, digest)
    if done then return done end
  end
  if tonumber(slow_ms) > 0 then
    local left = redis.call('PTTL', slow_key)
    if left > 0 then return {'early', string.format('%d', left)} end
    redis.call('SET', slow_key, '1', 'PX', slow_ms)
  end
  if record ~= '' then once_answer(record, digest, keep, answer) end
  return false
end

-- history_write writes a message to the history. message is JSON that begins with the id and has
-- the Unix ms as its only "at". The entry gets the time of its message, or a later one when another
-- node's clock was ahead. It returns the time.
--   key     the history, a stream
--   length  about how many messages are kept; 0 for none
local function history_write(key, length, message)
  local _, colon = string.find(message, '"at":', 1, true) -- inside a text, a quote has a backslash before it
  local at = string.match(message, '^%d+', colon + 1)
  if length == '0' then return at end
  local id = string.match(message, '^{"id":"(%w+)"')
  local added = redis.pcall('XADD', key, 'MAXLEN', '~', length, at .. '-*', 'id', id, 'message', message)
  if type(added) == 'table' then
    redis.call('XADD', key, 'MAXLEN', '~', length, '*', 'id', id, 'message', message)
  end
  return at
end

-- history_trim removes messages older than age, in ms, from a history, and lets it expire so long
-- after its newest message, or late ms later. at is the time of that.
local function history_trim(key, length, age, at, late)
  if length == '0' then return end
  redis.call('XTRIM', key, 'MINID', '~', string.format('%d', at - age))
  redis.call('PEXPIRE', key, string.format('%d', age + late))
end
